"""Counts and metrics of a detection. A metric that is not defined on these cases is None.

In each picture the boxes found of a class are gone through from the best score down; each takes the true
box that it has most in common with and that none has taken, if their IoU (intersection over union) is high
enough, and is true then; else it is false (as in COCO, Lin et al. 2014, arXiv:1405.0312). Scores are kept as
a histogram, so metrics are read off sums, and no box leaves a site.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.metrics.ranking import LOGIT_RANGE, SCORE_BINS
from common.metrics.sums import Array, EvaluationSums, Figure, check_like, mean, ratio

IOUS = (0.3, 0.5)
"""What two boxes must have in common to be one."""
RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False boxes a picture at which sensitivity is read (Setio et al. 2017, doi:10.1016/j.media.2017.06.015)."""
MOST_BOXES = 100
"""That are found in a picture."""
CURVE_POINTS = 200


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Counts over some pictures.

    Attributes:
        scores: (C, 2, 2, 512) int32 boxes found of each class, at an IoU of 0.3 and of 0.5, that are false
            (0) and true (1), by score; bins are equally wide in the logit from -12 to 12.
        truths: (C,) int64 true boxes.
        pictures: How many.
    """

    scores: Array
    truths: Array
    pictures: int

    @classmethod
    def none(cls, classes: int) -> Tally:
        """Of no picture."""
        shape = (classes, len(IOUS), 2, SCORE_BINS)
        return cls(np.zeros(shape, dtype=np.int32), np.zeros(classes, dtype=np.int64), 0)

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.scores + other.scores, self.truths + other.truths, self.pictures + other.pictures)


def tally(boxes: Array, scores: Array, classes: Array, true: Array, number: int) -> Tally:
    """The counts of one picture.

    Args:
        boxes: (M, 4) that were found.
        scores: (M,) in (0, 1), falling.
        classes: (M,) of each.
        true: (K, 5) class and box; a class of -1 is no box.
        number: C.
    """
    counted = Tally.none(number)
    bins = _bins(scores)
    for of_class in range(number):
        own, real = classes == of_class, true[:, 0] == of_class
        counted.truths[of_class] = real.sum()
        common = _ious(boxes[own], true[real, 1:])
        for level, least in enumerate(IOUS):
            np.add.at(counted.scores[of_class, level], (matched(common, least).astype(int), bins[own]), 1)
    return Tally(counted.scores, counted.truths, 1)


def matched(common: Array, least: float) -> Array:
    """(M,) bool, which boxes are true.

    Args:
        common: (M, K) IoU of each box, by falling score, with each true one.
        least: That makes two boxes one.
    """
    free, found = np.ones(common.shape[1], dtype=bool), np.zeros(len(common), dtype=bool)
    for place, row in enumerate(common):
        best = int(np.where(free, row, -1.0).argmax()) if free.any() else -1
        if best >= 0 and row[best] >= least:
            free[best], found[place] = False, True
    return found


@dataclass(frozen=True, slots=True, eq=False)
class DetectionSums(EvaluationSums):
    """Counts over n cases of C classes.

    Attributes:
        loss: Sum of the cases' losses, of each at most 28.
        searched: (2,) int64, n, and their pictures.
        truths: (C,) int64 true boxes.
        finds: (C, 2, 2, 512) int64, see :class:`Tally`.
        case_finds: (n, C, 2, 2, 512) int32 by case; none where single cases stay at the site.
        case_truths: (n, C + 1) int64 by case, its true boxes, and its pictures; likewise.
    """

    ROWS: ClassVar[frozenset[str]] = frozenset({"case_finds", "case_truths"})
    FIGURES: ClassVar[tuple[Figure, ...]] = (
        Figure("map50", "mAP at IoU 0.5"),
        Figure("map30", "mAP at IoU 0.3"),
        Figure("froc", "FROC, mean sensitivity", brief="FROC"),
    )

    searched: Array
    truths: Array
    finds: Array
    case_finds: Array
    case_truths: Array

    @property
    def n(self) -> int:
        """Cases counted."""
        return int(self.searched[0])

    @classmethod
    def none(cls, classes: int) -> DetectionSums:
        """The sums of no case."""
        return cls.of([], 0.0, classes, keep=False)

    @classmethod
    def of(cls, tallies: Sequence[Tally], loss: float, classes: int, *, keep: bool) -> DetectionSums:
        """The sums of cases, each a tally over its pictures.

        Args:
            tallies: Of each case.
            loss: Their sum.
            classes: C.
            keep: Carry single cases along.
        """
        nothing = Tally.none(classes)
        rows = np.stack([nothing.scores, *(each.scores for each in tallies)])[1:]
        truths = np.stack([np.r_[each.truths, each.pictures] for each in (nothing, *tallies)])[1:]
        kept = len(tallies) if keep else 0
        return cls(
            loss=loss,
            searched=np.array([len(tallies), truths[:, -1].sum()], dtype=np.int64),
            truths=truths[:, :-1].sum(axis=0),
            finds=rows.sum(axis=0, dtype=np.int64),
            case_finds=rows[:kept],
            case_truths=truths[:kept],
        )

    def check(self, classes: int) -> None:
        """See the base class."""
        check_like(self, self.none(classes), ("searched", "truths", "finds"))
        found = self.finds.sum(axis=2)
        if not np.array_equal(found[:, 0], found[:, 1]):
            raise ValueError("boxes found are others at another IoU")
        if (self.finds[:, :, 1].sum(axis=2) > self.truths[:, None]).any():
            raise ValueError("more true boxes found than there are")
        if self.searched[1] < self.n or found[:, 0].sum() > MOST_BOXES * self.searched[1]:
            raise ValueError("more cases, or boxes, than their pictures have")
        self._check_cases(classes)

    def _check_cases(self, classes: int) -> None:
        finds, truths = self.case_finds, self.case_truths
        shape = (len(finds), classes, len(IOUS), 2, SCORE_BINS)
        if finds.dtype != np.int32 or finds.shape != shape or truths.dtype != np.int64:
            raise ValueError(f"rows of cases are {finds.dtype}{finds.shape}")
        if truths.shape != (len(finds), classes + 1) or len(finds) not in (0, self.n):
            raise ValueError("rows of cases do not match")
        if not ((finds >= 0).all() and (truths >= 0).all()):
            raise ValueError("rows of cases are no counts")
        sums = finds.sum(axis=0, dtype=np.int64), truths.sum(axis=0)
        if len(finds) and not (
            np.array_equal(sums[0], self.finds)
            and np.array_equal(sums[1], np.r_[self.truths, self.searched[1]])
        ):
            raise ValueError("rows of cases do not add up")

    def figures(self, classes: Sequence[str]) -> dict[str, Any]:
        """See :func:`figures_of`."""
        return figures_of(self, classes)

    def curves(self, classes: Sequence[str]) -> dict[str, Any]:
        """False boxes a picture and sensitivity, from the highest score down, at an IoU of 0.3."""
        false, true = _froc(self)
        at = np.unique(np.linspace(0, len(false) - 1, CURVE_POINTS).astype(int)) if len(false) else slice(0)
        return {
            "froc_curve": {
                "false": np.round(false[at], 5).tolist(),
                "sensitivity": np.round(true[at], 5).tolist(),
            }
        }


def figures_of(sums: DetectionSums, classes: Sequence[str]) -> dict[str, Any]:
    """The metrics of ``sums``.

    ``map50`` and ``map30`` are means of the classes' average precision, ``froc`` the mean of the
    sensitivities at 1/8, 1/4 ... 8 false boxes a picture at an IoU of 0.3, over the boxes of all classes
    together; ``labels`` counts true boxes.
    """
    precisions = {
        f"ap{round(100 * least)}_by_class": {
            name: average_precision(sums.finds[c, level, 0], sums.finds[c, level, 1], int(sums.truths[c]))
            for c, name in enumerate(classes)
        }
        for level, least in enumerate(IOUS)
    }
    means = {f"m{key.removesuffix('_by_class')}": mean(list(of.values())) for key, of in precisions.items()}
    sensitivities = {f"{rate:g}": _sensitivity(sums, rate) for rate in RATES}
    return {
        "n": sums.n,
        "loss": ratio(sums.loss, sums.n),
        **means,
        "froc": mean(list(sensitivities.values())),
        "sensitivity": sensitivities,
        **precisions,
        "pictures": int(sums.searched[1]),
        "labels": {name: int(count) for name, count in zip(classes, sums.truths, strict=True)},
    }


def average_precision(false: Array, true: Array, truths: int) -> float | None:
    """Area under the precision by recall, each precision the best at that recall or a higher one.

    Args:
        false: (bins,) false boxes by score, rising.
        true: (bins,) true ones.
        truths: How many there are to be found.
    """
    if not truths:
        return None
    falses, trues = np.cumsum(false[::-1]), np.cumsum(true[::-1])
    precision = trues / np.maximum(falses + trues, 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((best * true[::-1]).sum() / truths)


def _froc(sums: DetectionSums) -> tuple[Array, Array]:
    """False boxes a picture and sensitivity, cumulated from the highest score down."""
    if not sums.searched[1] or not sums.truths.sum():
        return np.zeros(0), np.zeros(0)
    false, true = np.cumsum(sums.finds[:, 0].sum(axis=0)[:, ::-1], axis=1)
    return false / sums.searched[1], true / sums.truths.sum()


def _sensitivity(sums: DetectionSums, rate: float) -> float | None:
    """The highest with at most so many false boxes a picture."""
    false, true = _froc(sums)
    if not len(false):
        return None
    allowed = true[false <= rate]
    return float(allowed[-1]) if len(allowed) else 0.0


def _ious(found: Array, true: Array) -> Array:
    """(M, K) of (M, 4) and (K, 4) boxes."""
    low = np.maximum(found[:, None, :2], true[None, :, :2])
    high = np.minimum(found[:, None, 2:], true[None, :, 2:])
    both = np.maximum(high - low, 0).prod(axis=2)
    areas = [np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1) for boxes in (found, true)]
    ious: Array = both / np.maximum(areas[0][:, None] + areas[1][None, :] - both, 1e-12)
    return ious


def _bins(scores: Array) -> Array:
    """(M,) which bin of the histogram each score falls into."""
    clipped = np.clip(scores.astype(np.float64), 1e-9, 1 - 1e-9)
    place = (np.log(clipped / (1 - clipped)) + LOGIT_RANGE) / (2 * LOGIT_RANGE)
    bins: Array = np.clip((place * SCORE_BINS).astype(int), 0, SCORE_BINS - 1)
    return bins
