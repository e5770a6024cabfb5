"""What a step passes through before the recurrent stack.

Invariant: what comes out for a case does not depend on the padding behind it, nor on its batch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import nn

from common.models.masks import all_full, time_mask
from common.private.rules.normalisation import Scaling, unchanged
from common.private.tape import current_tape, folded


class Encoder(Protocol):
    """Steps in, features out; ``features`` is their width."""

    features: int

    def __call__(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, F) and (B,) to (B, T', features) and the new lengths."""
        ...


class NoEncoder(nn.Module):
    """The step's own pixels are its features."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What came in."""
        return steps, lengths


class MaskedGroupNorm(nn.GroupNorm):
    """Group normalisation (Wu and He 2018) over the rows that are not padding.

    :meth:`masked` is no ``forward``, so it puts its use of scale and shift on the tape itself.
    """

    def masked(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """``x``: (B, C, T, W); ``mask``: (B, 1, T, 1) of ones and zeros; statistics per case."""
        batch, channels, rows, width = x.shape
        grouped = (x * mask).view(batch, self.num_groups, channels // self.num_groups, rows, width)
        kept = mask.unsqueeze(1)
        count = kept.sum(dim=(2, 3, 4), keepdim=True) * (channels // self.num_groups) * width
        mean = grouped.sum(dim=(2, 3, 4), keepdim=True) / count
        variance = ((grouped - mean) * kept).square().sum(dim=(2, 3, 4), keepdim=True) / count
        normal = ((grouped - mean) / (variance + self.eps).sqrt()).view_as(x)
        scaled = normal * self.weight[:, None, None] + self.bias[:, None, None]
        tape = current_tape()
        if tape is not None:
            tape.add(Scaling(self.weight, self.bias, normal.detach(), unchanged, True, scaled))
        return scaled * mask


class RowEncoder(nn.Module):
    """Three small convolutions over a picture read row by row; four rows become one step.

    Convolutions see neighbouring rows, so what is padding is set to zero before each of them, as the
    border of a picture is.
    """

    def __init__(self, width: int, channels: tuple[int, int, int] = (8, 16, 16)) -> None:
        super().__init__()
        first, second, third = channels
        self.conv1 = nn.Conv2d(1, first, 3, stride=2, padding=1)
        self.norm1 = MaskedGroupNorm(4, first)
        self.conv2 = nn.Conv2d(first, second, 3, stride=2, padding=1)
        self.norm2 = MaskedGroupNorm(4, second)
        self.conv3 = nn.Conv2d(second, third, 3, padding=1)
        self.norm3 = MaskedGroupNorm(4, third)
        self.map = (third, 1, -(-width // 4))
        self.features = math.prod(self.map)

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, width) to (B, ceil(T / 4), channels * ceil(width / 4))."""
        full = all_full(lengths, steps.shape[1])
        x = steps.unsqueeze(1)
        for conv, norm in ((self.conv1, self.norm1), (self.conv2, self.norm2), (self.conv3, self.norm3)):
            x = conv(x)
            lengths = -(-lengths // conv.stride[0])
            if full:
                x = torch.relu(norm(x))
            else:
                mask = time_mask(lengths, x.shape[2], x.device)[:, None, :, None].to(x.dtype)
                x = torch.relu(norm.masked(x, mask))
        return x.permute(0, 2, 1, 3).flatten(2), lengths


class FrameByFrame(nn.Module, ABC):
    """What looks at each step's own picture, a patch, a slice or a frame, and at no other.

    Padding is left out: it would cost as much as pictures do.

    Args:
        frame: Height and width of a picture.
        features: Of what :meth:`look` makes of one.
    """

    def __init__(self, frame: tuple[int, int], features: int) -> None:
        super().__init__()
        self.frame, self.features = frame, features

    @abstractmethod
    def look(self, frames: torch.Tensor) -> torch.Tensor:
        """(N, 1, height, width) to (N, features) or (N, features, h, w)."""

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, height * width) to (B, T, features) or (B, T, features, h, w), zeros where padding was."""
        batch, count, _ = steps.shape
        frames = steps.reshape(batch * count, 1, *self.frame)
        if all_full(lengths, count):
            with folded(torch.arange(batch * count) // count):
                return torch.unflatten(self.look(frames), 0, (batch, count)), lengths
        own = time_mask(lengths, count, lengths.device).flatten().nonzero().squeeze(1)
        with folded(own // count):
            own = own.to(steps.device)
            seen = self.look(frames[own])
        features = seen.new_zeros(batch * count, *seen.shape[1:]).index_copy(0, own, seen)
        return torch.unflatten(features, 0, (batch, count)), lengths


class FrameEncoder(FrameByFrame):
    """Three small convolutions over each step's own picture."""

    def __init__(self, frame: tuple[int, int], channels: tuple[int, int, int] = (8, 16, 16)) -> None:
        first, second, third = channels
        self.map = (third, -(-frame[0] // 4), -(-frame[1] // 4))
        super().__init__(frame, math.prod(self.map))
        self.layers = nn.Sequential(
            nn.Conv2d(1, first, 3, stride=2, padding=1),
            nn.GroupNorm(4, first),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.GroupNorm(4, second),
            nn.ReLU(),
            nn.Conv2d(second, third, 3, padding=1),
            nn.GroupNorm(4, third),
            nn.ReLU(),
        )

    def look(self, frames: torch.Tensor) -> torch.Tensor:
        """(N, 1, height, width) to (N, features)."""
        return torch.flatten(self.layers(frames), 1)
