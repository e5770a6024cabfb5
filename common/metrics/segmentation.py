"""Counts and metrics of a segmentation. A metric that is not defined on these cases is None.

A case is a patient's stack, clip or picture as a whole. Dice of a case is ``2 I / (P + T)`` over all of its
pixels: I that are of the class and found so, P found, T true. It counts where the case has the class; what is
found of a class in cases without it is seen by the pooled Dice. Pixels without a label count nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.metrics.sums import Array, EvaluationSums, Figure, check_like, mean, ratio
from common.metrics.surfaces import farthest_of_most

UNLABELLED = 255
FARTHEST = 1500.0
"""More pixels than any picture's diagonal has."""


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationSums(EvaluationSums):
    """Counts over n cases of C classes, the first of which is the background.

    Attributes:
        loss: Sum of the cases' losses.
        segmented: (1,) int64, n.
        pixels: (C, 3) int64 pixels that are of the class and found so, that are found so, that are so.
        dice: (C, 3) float64 over the cases that have the class: how many, sum of their Dice, of its square.
        edges: (C,) float64 over the same, sum of their HD95 in pixels.
        segments: (n, C, 4) float64 by case: its ``pixels`` and its HD95, -1 where the case has no such class;
            or (0, C, 4) where single cases stay at the site.
    """

    ROWS: ClassVar[frozenset[str]] = frozenset({"segments"})
    MOST_LOSS: ClassVar[float] = 29.0
    """Cross-entropy of 27.6 and a whole Dice."""
    FIGURES: ClassVar[tuple[Figure, ...]] = (
        Figure("dice", "Dice"),
        Figure("pooled_dice", "Pooled Dice"),
        Figure("hd95", "HD95 (pixels)", higher_is_better=False, share=False),
    )

    segmented: Array
    pixels: Array
    dice: Array
    edges: Array
    segments: Array

    @property
    def n(self) -> int:
        """Cases counted."""
        return int(self.segmented[0])

    @classmethod
    def none(cls, classes: int) -> SegmentationSums:
        """The sums of no case."""
        nothing = np.zeros((0, 1, 1, 1), dtype=np.uint8)
        return cls.count(nothing, nothing, np.zeros(0), classes, keep=False)

    def check(self, classes: int) -> None:
        """See the base class."""
        check_like(self, self.none(classes), ("segmented", "pixels", "dice", "edges"))
        both, found, true = self.pixels.T
        cases, total, squares = self.dice.T
        if (both > np.minimum(found, true)).any() or found.sum() != true.sum():
            raise ValueError("pixels that are of a class, or found so, do not agree")
        if (cases != np.floor(cases)).any() or (cases > self.n).any():
            raise ValueError("cases that have a class are no number of cases")
        room = 1e-6 * (cases + 1)
        if (total > cases + room).any() or (squares > total + room).any():
            raise ValueError("Dice that is above one")
        if (total**2 > squares * cases + room * cases).any():
            raise ValueError("squares of Dice that no Dice has")
        if (self.edges > FARTHEST * cases).any():
            raise ValueError("edges farther apart than pictures are wide")
        self._check_segments(classes)

    def _check_segments(self, classes: int) -> None:
        rows = self.segments
        if rows.dtype != np.float64 or rows.shape not in ((0, classes, 4), (self.n, classes, 4)):
            raise ValueError(f"rows of cases are {rows.dtype}{rows.shape}")
        if not (rows[:, :, :3] >= 0).all():
            raise ValueError("rows of cases have pixels that are no counts")
        if len(rows) and not np.array_equal(rows[:, :, :3].sum(axis=0), self.pixels):
            raise ValueError("rows of cases do not add up to the pixels")
        distance = rows[:, :, 3]
        if not (((distance >= 0) & (distance <= FARTHEST)) | (distance == -1)).all():
            raise ValueError("rows of cases have distances that are none")

    def figures(self, classes: Sequence[str]) -> dict[str, Any]:
        """See :func:`figures_of`."""
        return figures_of(self, classes)

    @classmethod
    def count(
        cls, predicted: Array, true: Array, losses: Array, classes: int, *, keep: bool
    ) -> SegmentationSums:
        """The sums of some segmentations.

        Args:
            predicted: (n, pictures, H, W) uint8 classes.
            true: The same; 255 where there is no label, or no picture.
            losses: (n,) of each case.
            classes: C.
            keep: Carry single cases along.
        """
        found = [segments_of(*pair, classes) for pair in zip(predicted, true, strict=True)]
        return cls.of(np.stack(found) if found else np.zeros((0, classes, 4)), losses, keep=keep)

    @classmethod
    def of(cls, segments: Array, losses: Array, *, keep: bool) -> SegmentationSums:
        """The sums of single cases, (n, C, 4) ``segments`` and their (n,) losses."""
        both, found, true, distance = np.moveaxis(segments, 2, 0)
        has = true > 0
        dice = np.where(has, 2 * both / np.maximum(found + true, 1), 0.0)
        return cls(
            loss=float(losses.sum()),
            segmented=np.array([len(segments)], dtype=np.int64),
            pixels=segments[:, :, :3].sum(axis=0).astype(np.int64),
            dice=np.stack([has.sum(axis=0), dice.sum(axis=0), (dice**2).sum(axis=0)], axis=1).astype(float),
            edges=np.where(has, distance, 0.0).sum(axis=0),
            segments=segments if keep else segments[:0],
        )


def segments_of(predicted: Array, true: Array, classes: int) -> Array:
    """(C, 4) of one case: pixels of both, found, true; and HD95, -1 where the case has no such class.

    Args:
        predicted: (pictures, H, W) uint8 classes.
        true: The same; 255 where there is no label.
        classes: C.
    """
    predicted = np.where(true == UNLABELLED, UNLABELLED, predicted)
    rows = np.zeros((classes, 4))
    for number in range(classes):
        found, is_class = predicted == number, true == number
        far = _farthest(number, found, is_class)
        rows[number] = (found & is_class).sum(), found.sum(), is_class.sum(), far
    return rows


def _farthest(number: int, found: Array, is_class: Array) -> float:
    """HD95 of one class in one case."""
    if not is_class.any():
        return -1.0
    # The background's edge is that of all else together, which the other classes speak for.
    return farthest_of_most(found, is_class) if number else 0.0


def figures_of(sums: SegmentationSums, classes: Sequence[str]) -> dict[str, Any]:
    """The metrics of ``sums``; each by class, and as the mean over the classes but the background.

    ``dice`` and ``hd95`` are means over the cases that have the class, ``pooled_dice`` is that of all pixels
    together, ``dice_deviation`` the standard deviation between cases, ``labels`` the cases that have a class.
    """
    cases, total, squares = sums.dice.T
    both, found, true = sums.pixels.T
    numbers = range(1, len(classes))
    by_class: dict[str, list[float | None]] = {
        "dice": [ratio(total[c], cases[c]) for c in numbers],
        "dice_deviation": [_deviation(cases[c], total[c], squares[c]) for c in numbers],
        "pooled_dice": [ratio(2 * both[c], found[c] + true[c]) for c in numbers],
        "hd95": [ratio(sums.edges[c], cases[c]) for c in numbers],
    }
    means = {key: mean(values) for key, values in by_class.items() if key != "dice_deviation"}
    named = {
        f"{key}_by_class": dict(zip(classes[1:], values, strict=True)) for key, values in by_class.items()
    }
    labels = {name: int(count) for name, count in zip(classes, cases, strict=True)}
    return {"n": sums.n, "loss": ratio(sums.loss, sums.n), **means, **named, "labels": labels}


def _deviation(cases: float, total: float, squares: float) -> float | None:
    """Standard deviation of a sample; None of fewer than two."""
    if cases < 2:
        return None
    return math.sqrt(max(0.0, (squares - total**2 / cases) / (cases - 1)))
