"""Histograms of oriented gradients that can be exported: :mod:`common.models.hog` over padding too.

What counts the votes and makes them standard is that module's own. Different are only two things: padding
is looked at and masked, and the angle of a gradient is found without dividing by nothing.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from common.models.hog import HogFrames, HogRows, gradients, polar_votes, standard
from common.models.masks import time_mask

FAINTEST = 1e-30
"""Of gradients across: whatever is weaker adds nothing to a histogram, whose constant is 1e-3."""


class MaskedHogRows(nn.Module):
    """:class:`~common.models.hog.HogRows` without a count of the pictures, which would fix their number."""

    def __init__(self, encoder: HogRows) -> None:
        super().__init__()
        self.cell, self.orientations = encoder.cell, encoder.orientations

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As the encoder, with one more row of cells, zeros."""
        # torch.export takes an axis of one row for a constant, and a low picture has one row of cells.
        rows = nn.functional.pad(steps, (0, 0, 0, self.cell))
        votes = _votes(rows, lengths, self.cell, self.orientations)
        lengths = (lengths + (self.cell - 1)) // self.cell
        return standard(votes.flatten(2), lengths, self.orientations), lengths


class MaskedHogFrames(nn.Module):
    """:class:`~common.models.hog.HogFrames`, in which padding is pictures of height 0."""

    def __init__(self, encoder: HogFrames) -> None:
        super().__init__()
        self.frame = encoder.frame
        self.cell, self.orientations = encoder.cell, encoder.orientations

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As the encoder."""
        batch, count, _ = steps.shape
        # The expansion tells torch.export that there are as many lengths as cases, before it multiplies them.
        own = time_mask(lengths, count, steps.device).expand(batch, count)
        heights = own.flatten() * self.frame[0]
        frames = steps.reshape(batch * count, *self.frame)
        votes = _votes(frames, heights, self.cell, self.orientations)
        votes = torch.unflatten(votes, 0, (batch, count)).flatten(2)
        return standard(votes, lengths, self.orientations), lengths


def _votes(pictures: torch.Tensor, heights: torch.Tensor, cell: int, orientations: int) -> torch.Tensor:
    """:func:`~common.models.hog.cell_votes`, of all pictures at once."""
    across, down = gradients(pictures, heights)
    length = (across * across + down * down).sqrt()  # torch's hypot has no counterpart in ONNX
    return polar_votes(length, angle(down, across), heights, cell, orientations)


def angle(down: torch.Tensor, across: torch.Tensor) -> torch.Tensor:
    """``torch.atan2`` to within rounding, of any gradient that is not fainter than ``FAINTEST``.

    ONNX has no such operator. What its exporter writes for it divides one by the other: that is no number
    where a picture is even, and has the wrong sign where ``across`` is a zero with a minus.
    """
    steepness = torch.atan(down.abs() / across.abs().clamp_min(FAINTEST))
    above = torch.where(across < 0, math.pi - steepness, steepness)
    return torch.where(down < 0, -above, above)
