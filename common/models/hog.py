"""Histograms of oriented gradients (Dalal and Triggs 2005): a front end with nothing to learn.

Private training pays for every weight with noise; what is fixed beforehand costs nothing (Tramèr and Boneh
2021). Nothing here is a parameter, nothing enters the state dict, and no statistics of any patients enter
the features: a case is measured against itself, and the constants are rounded from public pictures.

Invariants: what comes out for a case does not depend on the padding behind it, nor on its batch; brightness
does not change it at all, and contrast only as far as the gradients of a case are as weak as ``FAINT``.

Three steps, each a choice found by experiment (docs/privacy.md):

1.  Every pixel votes with the length of its gradient for the two nearest of ``orientations`` directions over
    the full circle (a bright edge and a dark one differ); a cell takes the mean vote of its own pixels.
2.  Cells are divided by the mean energy of the case, not of their neighbours: where a picture has no texture
    its features say so.
3.  ``(log(1 + 2 v) - CENTRE) / SPREAD`` makes the features about standard. Under a clipped gradient a few
    large features would take what many small ones are owed.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import pad

from common.models.masks import time_mask

CENTRE, SPREAD = 0.8, 0.5
"""Mean and standard deviation of the compressed votes on public brain MR, lung CT and cardiac MR."""

CHUNK_PIXELS = 2**17
"""Pixels that are looked at together: what is made of them stays in a processor's cache."""

FAINT = 1e-3
"""Mean gradient of a standardised picture that holds nothing; keeps its noise from being made large."""


class HogRows(nn.Module):
    """A picture read row by row; each row of cells becomes one step.

    Args:
        width: Pixels in a row.
        cell: Side of a cell in pixels; None for an eighth of the width, and at least 4.
        orientations: Directions of a histogram.
    """

    def __init__(self, width: int, cell: int | None = None, orientations: int = 8) -> None:
        super().__init__()
        self.cell = cell or max(4, math.ceil(width / 8))
        self.orientations = orientations
        self.features = math.ceil(width / self.cell) * orientations

    @torch.no_grad()
    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, width) to (B, ceil(T / cell), cells across * orientations), zeros behind a case's length."""
        votes = cell_votes(steps, lengths, self.cell, self.orientations)
        lengths = -(-lengths // self.cell)
        return standard(votes.flatten(2), lengths, self.orientations), lengths


class HogFrames(nn.Module):
    """Each step's own picture, a patch, a slice or a frame, as the histograms of its cells.

    Args:
        frame: Height and width of a step's picture in pixels.
        cell: Side of a cell in pixels; None for a quarter of the shorter side, and at least 4.
        orientations: Directions of a histogram.
    """

    def __init__(self, frame: tuple[int, int], cell: int | None = None, orientations: int = 8) -> None:
        super().__init__()
        self.frame = frame
        self.cell = cell or max(4, math.ceil(min(frame) / 4))
        self.orientations = orientations
        self.features = math.ceil(frame[0] / self.cell) * math.ceil(frame[1] / self.cell) * orientations

    @torch.no_grad()
    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, height * width) to (B, T, features), zeros behind a case's length."""
        batch, count, _ = steps.shape
        own = time_mask(lengths, count, lengths.device).flatten().nonzero().squeeze(1)
        frames = steps.reshape(batch * count, *self.frame)[own.to(steps.device)]
        heights = torch.full((len(frames),), self.frame[0])
        seen = cell_votes(frames, heights, self.cell, self.orientations).flatten(1)
        votes = seen.new_zeros(batch * count, self.features).index_copy(0, own.to(steps.device), seen)
        return standard(votes.view(batch, count, self.features), lengths, self.orientations), lengths


def cell_votes(pictures: torch.Tensor, heights: torch.Tensor, cell: int, orientations: int) -> torch.Tensor:
    """Mean vote of each cell's pixels for each direction.

    Direction k of K is the angle ``2 pi (k + 1/2) / K``, from left to right and from top to bottom; a pixel
    whose gradient points between two of them shares its vote by nearness.

    Args:
        pictures: (N, H, W); rows from a picture's own height on are padding.
        heights: (N,) int64 on the CPU, own height of each picture.
        cell: Side of a cell in pixels; cells at the right and lower border may be cut.
        orientations: K.

    Returns:
        (N, ceil(H / cell), ceil(W / cell), K), zeros where padding was.
    """
    each = max(1, CHUNK_PIXELS // (pictures.shape[1] * pictures.shape[2]))
    chunks = zip(torch.split(pictures, each), torch.split(heights, each), strict=True)
    return torch.cat([_chunk_votes(*chunk, cell, orientations) for chunk in chunks])


def _chunk_votes(pictures: torch.Tensor, heights: torch.Tensor, cell: int, orientations: int) -> torch.Tensor:
    across, down = gradients(pictures, heights)
    return polar_votes(torch.hypot(across, down), torch.atan2(down, across), heights, cell, orientations)


def gradients(pictures: torch.Tensor, heights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Central differences across and down, both (N, H, W); a picture's border pixels are repeated outside.

    Args:
        pictures: (N, H, W).
        heights: (N,) int64, own height of each picture; what is behind it is not looked at.
    """
    row = torch.arange(pictures.shape[1], device=pictures.device)
    heights = heights.to(pictures.device)[:, None]
    pictures = pictures.masked_fill((row >= heights).unsqueeze(2), 0.0)
    sides = pad(pictures, (1, 1), mode="replicate")
    next_row = torch.minimum(row + 1, (heights - 1).clamp_min(0)).unsqueeze(2)
    below = pictures.gather(1, next_row.expand_as(pictures))
    above = pictures[:, (row - 1).clamp_min(0)]
    return sides[:, :, 2:] - sides[:, :, :-2], below - above


def polar_votes(
    length: torch.Tensor, angle: torch.Tensor, heights: torch.Tensor, cell: int, orientations: int
) -> torch.Tensor:
    """:func:`cell_votes` of gradients, (N, H, W) each: their length, and their angle in radians."""
    own = time_mask(heights, length.shape[1], length.device).unsqueeze(2)
    length = length * own
    place = angle * (orientations / (2 * math.pi)) - 0.5
    pixels = _cell_sums(own.expand_as(length).to(length.dtype), cell).clamp_min(1.0)
    votes = [_cell_sums(length * _nearness(place - k, orientations), cell) for k in range(orientations)]
    return torch.stack(votes, dim=3) / pixels.unsqueeze(3)


def _nearness(offset: torch.Tensor, orientations: int) -> torch.Tensor:
    """1 at a direction, falling to 0 at its neighbours; ``offset`` counts directions and may go round."""
    distance = offset - orientations * torch.round(offset / orientations)
    return (1 - distance.abs()).clamp_min(0.0)


def _cell_sums(values: torch.Tensor, cell: int) -> torch.Tensor:
    """(N, H, W) to (N, ceil(H / cell), ceil(W / cell))."""
    count, height, width = values.shape
    down, across = -(-height // cell), -(-width // cell)
    whole = pad(values, (0, across * cell - width, 0, down * cell - height))
    return whole.reshape(count, down, cell, across, cell).sum(dim=(2, 4))


def cell_means(values: torch.Tensor, cell: int) -> torch.Tensor:
    """(N, H, W) values of pixels to (N, ceil(H / cell), ceil(W / cell)), means over cells' own pixels."""
    return _cell_sums(values, cell) / _cell_sums(torch.ones_like(values[:1]), cell)


def over_pixels(values: torch.Tensor, frame: tuple[int, int], cell: int) -> torch.Tensor:
    """(N, H, W) values of cells, each shared evenly by the cell's own pixels, so that all sums stay.

    Args:
        values: (N, ceil(H / cell), ceil(W / cell)).
        frame: H and W.
        cell: Side of a cell in pixels; cells at the right and lower border may be cut.
    """
    height, width = frame
    each = values / _cell_sums(values.new_ones(1, height, width), cell)
    return each.repeat_interleave(cell, dim=1).repeat_interleave(cell, dim=2)[:, :height, :width]


def standard(votes: torch.Tensor, lengths: torch.Tensor, orientations: int) -> torch.Tensor:
    """Votes (B, T, F), zero on padding, relative to their case's mean, compressed, about standard."""
    mask = time_mask(lengths, votes.shape[1], votes.device).to(votes.dtype).unsqueeze(2)
    votes = votes * mask
    mean = votes.sum(dim=(1, 2)) / (mask.sum(dim=(1, 2)) * votes.shape[2])
    relative = votes / (mean + FAINT / orientations)[:, None, None]
    return (torch.log1p(2 * relative) - CENTRE) / SPREAD * mask
