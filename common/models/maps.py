"""Feature maps for convolutional cells, from encoders that give a step's features in one line."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from common.models.encoders import Encoder


class FrameMaps(nn.Module):
    """What an encoder gives of each step, with its places put back.

    Args:
        inner: Gives (B, T, C * h * w); its weights are called ``inner``'s.
        shape: C, h, w.
        channels_last: The features of a place lie beside each other, as a histogram's do.

    Attributes:
        features: C.
    """

    def __init__(self, inner: Encoder, shape: tuple[int, int, int], *, channels_last: bool = False) -> None:
        super().__init__()
        self.inner = cast(nn.Module, inner)
        self.shape, self.channels_last = shape, channels_last
        self.features = shape[0]

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, F) and (B,) to (B, T', C, h, w) and the new lengths."""
        flat, lengths = self.inner(steps, lengths)
        return self.laid_out(flat), lengths

    def laid_out(self, flat: torch.Tensor) -> torch.Tensor:
        """(B, T', C * h * w) of what ``inner`` gives to (B, T', C, h, w)."""
        channels, height, width = self.shape
        if self.channels_last:
            return torch.unflatten(flat, 2, (height, width, channels)).permute(0, 1, 4, 2, 3)
        return torch.unflatten(flat, 2, self.shape)
