"""Encoders that can be exported: they look at padding too, and mask what they make of it."""

from __future__ import annotations

import torch
from torch import nn

from client.exporting.hog import MaskedHogFrames, MaskedHogRows
from common.errors import TaskNotServed
from common.models.encoders import FrameByFrame, NoEncoder, RowEncoder
from common.models.hog import HogFrames, HogRows
from common.models.maps import FrameMaps
from common.models.masks import time_mask
from common.models.places import PatchPlaces, Pixels, RowPlaces


class MaskedRows(nn.Module):
    """:class:`~common.models.encoders.RowEncoder` with a mask at every layer, also where all are full."""

    def __init__(self, encoder: RowEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As the encoder."""
        # Four rows of padding, so that behind the strides more than one row is left: torch.export takes an
        # axis of one row for a constant.
        own, x = self.encoder, nn.functional.pad(steps, (0, 0, 0, 4)).unsqueeze(1)
        for conv, norm in ((own.conv1, own.norm1), (own.conv2, own.norm2), (own.conv3, own.norm3)):
            x = conv(x)
            stride = conv.stride[0]
            lengths = (lengths + (stride - 1)) // stride
            mask = time_mask(lengths, x.shape[2], x.device)[:, None, :, None].to(x.dtype)
            x = torch.relu(norm.masked(x, mask))
        return x.permute(0, 2, 1, 3).flatten(2), lengths


class MaskedRowPlaces(nn.Module):
    """:class:`~common.models.places.RowPlaces`, likewise; rows and lengths stay what they are."""

    def __init__(self, encoder: RowPlaces) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As the encoder."""
        own, x = self.encoder, steps.unsqueeze(1)
        mask = time_mask(lengths, steps.shape[1], steps.device)[:, None, :, None].to(steps.dtype)
        for conv, norm in ((own.conv1, own.norm1), (own.conv2, own.norm2)):
            x = torch.relu(norm.masked(conv(x), mask))
        return x.permute(0, 2, 1, 3).flatten(2), lengths


class MaskedFrames(nn.Module):
    """:class:`~common.models.encoders.FrameByFrame` over padding too, whose features are set to zero."""

    def __init__(self, encoder: FrameByFrame) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As the encoder."""
        batch, count, _ = steps.shape
        seen = self.encoder.look(steps.reshape(batch * count, 1, *self.encoder.frame))
        mask = time_mask(lengths, count, steps.device).to(seen.dtype)
        seen = seen.reshape(batch, count, *seen.shape[1:])
        return seen * mask.reshape(batch, count, *(1,) * (seen.dim() - 2)), lengths


class MaskedMaps(nn.Module):
    """:class:`~common.models.maps.FrameMaps` of an encoder that can be exported."""

    def __init__(self, encoder: FrameMaps) -> None:
        super().__init__()
        self.inner = masked_encoder(encoder.inner)
        self.laid_out = encoder.laid_out

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As the encoder."""
        flat, lengths = self.inner(steps, lengths)
        return self.laid_out(flat), lengths


def masked_encoder(encoder: object) -> nn.Module:
    """An encoder that can be exported.

    Raises:
        TaskNotServed: There is none for it.
    """
    match encoder:
        case RowEncoder():
            return MaskedRows(encoder)
        case RowPlaces():
            return MaskedRowPlaces(encoder)
        case FrameByFrame():
            return MaskedFrames(encoder)
        case HogRows():
            return MaskedHogRows(encoder)
        case HogFrames():
            return MaskedHogFrames(encoder)
        case FrameMaps():
            return MaskedMaps(encoder)
        case NoEncoder() | Pixels() | PatchPlaces():
            return encoder
    raise TaskNotServed(f"an encoder of kind {type(encoder).__name__} cannot be exported yet")
