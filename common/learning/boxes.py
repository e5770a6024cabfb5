"""Boxes: from what a model says of the cells of a grid to boxes with scores, and back.

A box is (top, left, bottom, right) in fractions of the picture. A cell says of a box whose centre lies in it
how far that centre is from its own, in cells, and the logarithms of the box's height and width, in cells
(as YOLO's, Redmon and Farhadi 2017, arXiv:1612.08242, without anchors of other sizes; centres as in
CenterNet, Zhou et al. 2019, arXiv:1904.07850).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from common.metrics.sums import Array

MOST_LOG = 6.0
"""A box is at most e^6 cells high, and at least e^-6: what is said beyond that is no size."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The cells of a picture, in the order in which a model speaks of them.

    Attributes:
        centres: (S, 2) float32, y and x of each in fractions of the picture.
        height: Of a cell, in fractions of the picture.
        width: The same.
    """

    centres: torch.Tensor
    height: float
    width: float

    @classmethod
    def of(cls, rows: int, columns: int, height: float, width: float) -> Grid:
        """A grid of cells of that size from the upper left, in raster order."""
        down = (torch.arange(rows, dtype=torch.float32) + 0.5) * height
        right = (torch.arange(columns, dtype=torch.float32) + 0.5) * width
        return cls(torch.cartesian_prod(down, right), height, width)

    def in_order(self, order: torch.Tensor) -> Grid:
        """The same cells in another order: (S,) int64 places among these."""
        return replace(self, centres=self.centres[order])

    @property
    def size(self) -> torch.Tensor:
        """(2,) height and width of a cell."""
        return torch.tensor([self.height, self.width])

    def boxes(self, said: torch.Tensor) -> torch.Tensor:
        """(..., S, 4) what the cells say to (..., S, 4) boxes."""
        cell, centres = self.size.to(said.device), self.centres.to(said.device)
        middle = centres + said[..., :2] * cell
        half = said[..., 2:].clamp(-MOST_LOG, MOST_LOG).exp() * cell / 2
        return torch.cat([middle - half, middle + half], dim=-1)

    def said(self, boxes: torch.Tensor) -> torch.Tensor:
        """(..., S, 4) boxes to what their cells would have to say: the inverse of :meth:`boxes`."""
        cell, centres = self.size.to(boxes.device), self.centres.to(boxes.device)
        middle = (boxes[..., :2] + boxes[..., 2:]) / 2
        sizes = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-6)
        return torch.cat([(middle - centres) / cell, (sizes / cell).log().clamp(-MOST_LOG, MOST_LOG)], dim=-1)


def iou(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """(..., M, K) share that boxes have in common of what both cover; (..., M, 4) and (..., K, 4) given."""
    one, other = one.unsqueeze(-2), other.unsqueeze(-3)
    both = _area(torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:]))
    either = _area(one[..., :2], one[..., 2:]) + _area(other[..., :2], other[..., 2:]) - both
    return both / either.clamp(min=1e-12)


def generalised_iou(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """(...,) IoU of pairs of boxes, less the share of their hull that neither covers, in (-1, 1].

    Rezatofighi et al. 2019, arXiv:1902.09630: unlike IoU it still says in which direction boxes lie apart.
    """
    both = _area(torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:]))
    either = _area(one[..., :2], one[..., 2:]) + _area(other[..., :2], other[..., 2:]) - both
    hull = _area(torch.minimum(one[..., :2], other[..., :2]), torch.maximum(one[..., 2:], other[..., 2:]))
    return both / either.clamp(min=1e-12) - (hull - either) / hull.clamp(min=1e-12)


def suppressed(boxes: torch.Tensor, scores: torch.Tensor, most_iou: float) -> torch.Tensor:
    """(kept,) int64, boxes that no better one covers, the best first (non-maximum suppression).

    Args:
        boxes: (M, 4).
        scores: (M,).
        most_iou: Two boxes that have more in common are one.
    """
    order = scores.argsort(descending=True, stable=True)
    close = iou(boxes[order], boxes[order]) > most_iou
    alive = np.ones(len(order), dtype=bool)
    for place, row in enumerate(close.cpu().numpy()):
        if alive[place]:
            alive[place + 1 :] &= ~row[place + 1 :]
    return order[torch.from_numpy(alive).to(order.device)]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What was found in one picture, the best first.

    Attributes:
        boxes: (M, 4).
        scores: (M,) in (0, 1).
        classes: (M,) int64.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    classes: torch.Tensor

    def arrays(self) -> tuple[Array, Array, Array]:
        """Boxes, scores and classes as arrays."""
        return self.boxes.numpy(), self.scores.numpy(), self.classes.numpy()


def decode(
    logits: torch.Tensor, boxes: torch.Tensor, *, least: float = 0.01, most_iou: float = 0.3, most: int = 100
) -> Found:
    """The boxes of one picture.

    Args:
        logits: (S, C) of each cell and class.
        boxes: (S, 4) of each cell.
        least: A lower score is nothing found.
        most_iou: Two boxes of a class that have more in common are one.
        most: Boxes of a picture, and of a class before the close ones are joined three times as many.
    """
    scores = logits.float().sigmoid()
    parts = [
        _of_class(scores[:, number], boxes.float(), number, least, most_iou, most)
        for number in range(scores.shape[1])
    ]
    every = Found(*(torch.cat(column) for column in zip(*parts, strict=True)))
    best = every.scores.argsort(descending=True, stable=True)[:most]
    return Found(every.boxes[best].clamp(0, 1), every.scores[best], every.classes[best])


def _of_class(
    scores: torch.Tensor, boxes: torch.Tensor, number: int, least: float, most_iou: float, most: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes, scores and classes of one class."""
    likely = (scores >= least).nonzero().squeeze(1)
    likely = likely[scores[likely].argsort(descending=True, stable=True)[: 3 * most]]
    kept = likely[suppressed(boxes[likely], scores[likely], most_iou)]
    return boxes[kept], scores[kept], torch.full_like(kept, number)


def _area(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    return (high - low).clamp(min=0).prod(dim=-1)
