"""Encoders that keep each pixel's place, for models that say something of every pixel.

Invariant: what comes out for a case does not depend on the padding behind it, nor on its batch.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from common.models.encoders import MaskedGroupNorm
from common.models.masks import all_full, time_mask
from common.private.tape import folded


class PlaceEncoder(Protocol):
    """Steps in, as many steps out, each (channels, height, width) laid out as one vector.

    Attributes:
        frame: Height and width of a step.
        channels: Of each of its places.
        features: ``channels * height * width``.
    """

    frame: tuple[int, int]
    channels: int
    features: int

    def __call__(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, height * width) and (B,) to (B, T, features) and the same lengths."""
        ...


class Pixels(nn.Module):
    """A place's own brightness."""

    def __init__(self, frame: tuple[int, int]) -> None:
        super().__init__()
        self.frame, self.channels, self.features = frame, 1, frame[0] * frame[1]

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What came in."""
        return steps, lengths


class RowPlaces(nn.Module):
    """Two small convolutions over a picture read row by row, which keep its rows and its width.

    They see neighbouring rows, so what is padding is set to zero before each, as the border of a picture is.
    """

    def __init__(self, width: int, channels: int = 8) -> None:
        super().__init__()
        self.frame, self.channels, self.features = (1, width), channels, channels * width
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1)
        self.norm1 = MaskedGroupNorm(4, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = MaskedGroupNorm(4, channels)

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`PlaceEncoder`."""
        full = all_full(lengths, steps.shape[1])
        mask = time_mask(lengths, steps.shape[1], steps.device)[:, None, :, None].to(steps.dtype)
        x = steps.unsqueeze(1)
        for conv, norm in ((self.conv1, self.norm1), (self.conv2, self.norm2)):
            x = torch.relu(norm(conv(x)) if full else norm.masked(conv(x), mask))
        return x.permute(0, 2, 1, 3).flatten(2), lengths


class PatchPlaces(nn.Module):
    """Two small convolutions over each patch, which keep its size."""

    def __init__(self, frame: tuple[int, int], channels: int = 8) -> None:
        super().__init__()
        self.frame, self.channels, self.features = frame, channels, channels * frame[0] * frame[1]
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.GroupNorm(4, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(4, channels),
            nn.ReLU(),
        )

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`PlaceEncoder`; zeros where padding was."""
        batch, count, _ = steps.shape
        with folded(torch.arange(batch * count) // count):
            seen = self.layers(steps.reshape(batch * count, 1, *self.frame))
        mask = time_mask(lengths, count, steps.device).unsqueeze(2)
        return seen.reshape(batch, count, -1) * mask, lengths
