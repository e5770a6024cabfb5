"""Boxes that follow their pictures.

Boxes are (B, T, K, 5) float32: class, top, left, bottom, right, in fractions of the picture; -1 everywhere
for none.
"""

from __future__ import annotations

import torch

from common.sequences.cutting import hilbert
from common.study import Patches

LEAST_SEEN = 0.25
"""Share of a moved box that must still lie in the picture; one of which less does is no finding any more."""


def moved_boxes(boxes: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """The boxes around what was in them, cut at the picture's border.

    A box that was turned is the upright one around it. One that has left the picture is none any more.

    Args:
        boxes: (B, T, K, 5).
        maps: (B, 2, 3) float32 on their device; see :mod:`client.augmentation.moves`.
    """
    turn = torch.linalg.inv(maps[:, :, :2])
    top, left, bottom, right = (2 * boxes[..., 1:] - 1).unbind(-1)
    corners = torch.stack([torch.stack([x, y], -1) for x in (left, right) for y in (top, bottom)], -2)
    old = corners - maps[:, None, None, None, :, 2]
    new = ((old @ turn.mT[:, None, None]) + 1) / 2
    low, high = new.amin(-2), new.amax(-2)
    seen = high.clamp(0, 1) - low.clamp(0, 1)
    share = (seen / (high - low).clamp_min(1e-12)).prod(-1)
    sides = torch.cat([low.flip(-1), high.flip(-1)], -1).clamp(0, 1)
    stays = (boxes[..., 0] >= 0) & (share >= LEAST_SEEN)
    return torch.where(stays[..., None], torch.cat([boxes[..., :1], sides], -1), -1.0)


def at_their_patches(boxes: torch.Tensor, sequence: Patches) -> torch.Tensor:
    """The boxes of each case, each at the step whose patch holds its centre; (B, T, K, 5) as they came.

    Of more than K at one patch the first K stay.
    """
    cases, steps, most, _ = boxes.shape
    every = boxes.reshape(cases, steps * most, 5)
    case, place = (every[..., 0] >= 0).nonzero(as_tuple=True)
    own = every[case, place]
    key, order = torch.sort(case * steps + _steps_of(own, sequence), stable=True)
    rank = torch.arange(len(key), device=key.device) - torch.searchsorted(key, key)
    placed = torch.full_like(boxes, -1).reshape(cases * steps, most, 5)
    fits = rank < most
    placed[key[fits], rank[fits]] = own[order[fits]]
    return placed.reshape(boxes.shape)


def _steps_of(boxes: torch.Tensor, sequence: Patches) -> torch.Tensor:
    """(M,) int64: step of the patch that holds the centre of each of (M, 5) boxes."""
    side = sequence.size // sequence.patch
    row, column = (((boxes[:, i] + boxes[:, i + 2]) / 2 * side).long().clamp(0, side - 1) for i in (1, 2))
    if sequence.order == "raster":
        return row * side + column
    return torch.from_numpy(hilbert(side)).to(boxes.device).argsort()[row * side + column]
