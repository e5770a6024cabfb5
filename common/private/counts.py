"""Evaluation counts under noise, so that what is sent about test cases hides any one patient's part in it.

Each unit (a patient with all its test cases, or one image) counts as one: each of its m cases with weight
1 / m. So one unit, however many cases it has, moves the vector of all counts by at most norm 1, and one
Gaussian release of that vector is all that is spent. The rest is computed from it and from the numbers of
cases of each class, which a site states anyway.

Scores are released as prefix sums of their histogram h, by the square root R of the matrix of prefix sums
(Fichtenberger et al. 2023):

    R R = [i >= j],    R[i, j] = C(2k, k) / 4^k for k = i - j >= 0,    prefix = R (R h + noise)

so the number of bins hardly matters: of 512, each prefix has about three times the noise of a single count.

With two classes the scores' histogram tells the rest (confusion, calibration, loss). With more, confusion and
calibration are released beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.metrics import CALIBRATION_BINS, ClassificationSums
from common.metrics.ranking import LOGIT_RANGE, SCORE_BINS
from common.private.noise import normals
from common.private.plan import EvaluationPlan
from common.private.secret import Secret

Array = NDArray[Any]

SCORE_SHARE, CONFUSION_SHARE, HITS_SHARE = 0.6, 0.2, 0.2
"""How the release's squared norm is divided among its parts where there are more than two classes."""

_LOGIT = (np.arange(SCORE_BINS) + 0.5) / SCORE_BINS * 2 * LOGIT_RANGE - LOGIT_RANGE
_PROBABILITY = 1 / (1 + np.exp(-_LOGIT))


def noised_sums(
    scores: Array, labels: Array, groups: Array, plan: EvaluationPlan, secret: Secret
) -> ClassificationSums:
    """What a site may send of an evaluation: consistent counts of as many cases of each class as there are.

    Args:
        scores: (n, C) float, class probabilities that sum to one.
        labels: (n,) int, true classes.
        groups: (n,) int from 0, unit of each case.
        plan: The noise.
        secret: Of this evaluation alone; its stream ``evaluation`` is used.
    """
    vector = statistic(scores, labels, groups)
    draw = normals(secret, "evaluation", secure=plan.secure_noise)
    noised = vector + plan.noise_multiplier * draw(len(vector))
    return sums_from(noised, np.bincount(labels, minlength=scores.shape[1]))


def statistic(scores: Array, labels: Array, groups: Array) -> Array:
    """(D,) everything that is released, before the noise.

    Removing all cases of one unit moves it by an L2 norm of at most 1.
    """
    classes = scores.shape[1]
    weight = 1.0 / np.bincount(groups)[groups]
    histogram = np.stack([_histogram(scores[:, c], labels == c, weight) for c in _scored(classes)])
    parts = [histogram @ _root().T]
    if classes > 2:
        parts += [_confusion(scores, labels, weight), _hits(scores, labels, weight)]
    return np.concatenate(
        [factor * part.ravel() for factor, part in zip(_factors(classes), parts, strict=True)]
    )


def sums_from(noised: Array, of_class: Array) -> ClassificationSums:
    """The sums that a noised statistic speaks for.

    Args:
        noised: (D,).
        of_class: (C,) int, cases of each class.
    """
    classes, cases = len(of_class), int(of_class.sum())
    shapes: list[tuple[int, ...]] = [(len(_scored(classes)), 2, SCORE_BINS)]
    shapes += [(classes, classes), (CALIBRATION_BINS, 2)] if classes > 2 else []
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    parts = [
        part.reshape(shape) / factor
        for part, shape, factor in zip(np.split(noised, ends[:-1]), shapes, _factors(classes), strict=True)
    ]
    prefixes = parts[0] @ _root().T
    histogram = np.stack(
        [
            [_bins(prefixes[place, 0], cases - of_class[c]), _bins(prefixes[place, 1], of_class[c])]
            for place, c in enumerate(_scored(classes))
        ]
    )
    if classes == 2:
        return _sums_of_two(histogram[0])
    confusion = np.stack([_cells(row, total) for row, total in zip(parts[1], of_class, strict=True)])
    hits = _cells(parts[2].ravel(), cases).reshape(CALIBRATION_BINS, 2)
    middles = (np.arange(CALIBRATION_BINS) + 0.5) / CALIBRATION_BINS
    calibration = np.stack([hits.sum(axis=1), hits.sum(axis=1) * middles, hits[:, 1]])
    return _sums(confusion, calibration, histogram)


def _scored(classes: int) -> Sequence[int]:
    """The classes whose scores are released: of two, one tells the other."""
    return range(classes) if classes > 2 else (1,)


def _factors(classes: int) -> tuple[float, ...]:
    """What each part is multiplied by, so that a unit adds at most norm 1 to all of them together.

    A case adds a column of the root to each scored class, and 1 to one cell of each other part.
    """
    column = float(np.linalg.norm(_root()[:, 0]))
    if classes == 2:
        return (1 / column,)
    scores = math.sqrt(SCORE_SHARE / classes) / column
    return scores, math.sqrt(CONFUSION_SHARE), math.sqrt(HITS_SHARE)


@lru_cache(maxsize=1)
def _root() -> Array:
    """(512, 512) the square root of the matrix of prefix sums; its first column is the longest."""
    ratios = 1 - 0.5 / np.arange(1, SCORE_BINS)
    coefficients = np.cumprod(np.r_[1.0, ratios])
    lag = np.subtract.outer(np.arange(SCORE_BINS), np.arange(SCORE_BINS))
    root: Array = np.where(lag >= 0, coefficients[np.abs(lag)], 0.0)
    return root


def _histogram(score: Array, is_class: Array, weight: Array) -> Array:
    """(2, 512) weights of the cases that are not, and are, of a class, in its bins."""
    clipped = np.clip(score.astype(np.float64), 1e-9, 1 - 1e-9)
    place = (np.log(clipped / (1 - clipped)) + LOGIT_RANGE) / (2 * LOGIT_RANGE)
    bins = np.clip((place * SCORE_BINS).astype(int), 0, SCORE_BINS - 1)
    return np.stack([np.bincount(bins[s], weight[s], SCORE_BINS) for s in (~is_class, is_class)])


def _confusion(scores: Array, labels: Array, weight: Array) -> Array:
    """(C, C) weights of the cases by true and predicted class."""
    table = np.zeros((scores.shape[1], scores.shape[1]))
    np.add.at(table, (labels, scores.argmax(axis=1)), weight)
    return table


def _hits(scores: Array, labels: Array, weight: Array) -> Array:
    """(15, 2) weights of the cases by confidence, and by whether the prediction was right."""
    table = np.zeros((CALIBRATION_BINS, 2))
    np.add.at(table, (_confidence_bin(scores.max(axis=1)), (scores.argmax(axis=1) == labels) * 1), weight)
    return table


def _confidence_bin(confidence: Array) -> Array:
    bins: Array = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return bins


def _bins(prefix: Array, total: int) -> Array:
    """(512,) counts that sum to ``total``, their prefix sums in proportion to the nearest that never fall."""
    rising = np.maximum(_rising(prefix), 0.0)
    return _whole(rising if rising[-1] > 0 else np.arange(1.0, len(prefix) + 1), total)


def _cells(values: Array, total: int) -> Array:
    """(K,) counts that sum to ``total``, in proportion to the nearest values that are not below 0."""
    kept = _on_simplex(values, float(values.sum())) if values.sum() > 0 else np.ones_like(values)
    return _whole(np.cumsum(kept), total)


def _whole(prefix: Array, total: int) -> Array:
    """Whole numbers that sum to ``total``, from rising prefix sums of their proportions."""
    steps: Array = np.diff(np.rint(prefix * (total / prefix[-1])).astype(np.int64), prepend=0)
    return steps


def _rising(values: Array) -> Array:
    """The nearest values that never fall: pool adjacent violators (Barlow et al. 1972)."""
    means: list[float] = []
    counts: list[int] = []
    for value in values.tolist():
        mean, count = value, 1
        while means and means[-1] > mean:
            before, size = means.pop(), counts.pop()
            mean, count = (before * size + mean * count) / (size + count), size + count
        means.append(mean)
        counts.append(count)
    return np.repeat(means, counts)


def _on_simplex(values: Array, total: float) -> Array:
    """The nearest values not below 0 that sum to ``total`` (Duchi et al. 2008, fig. 1)."""
    falling = np.sort(values)[::-1]
    excess = (np.cumsum(falling) - total) / np.arange(1, len(values) + 1)
    kept: Array = np.maximum(values - excess[np.flatnonzero(falling > excess)[-1]], 0.0)
    return kept


def _sums_of_two(histogram: Array) -> ClassificationSums:
    """The sums of two classes from the (2, 512) histogram of the second one's scores."""
    half = SCORE_BINS // 2  # from here on the second class is the likelier one
    confusion = np.stack([histogram[:, :half].sum(axis=1), histogram[:, half:].sum(axis=1)], axis=1)
    likelier = (np.arange(SCORE_BINS) >= half) * 1
    cases, hits = histogram.sum(axis=0), histogram[likelier, np.arange(SCORE_BINS)]
    confidence = np.maximum(_PROBABILITY, 1 - _PROBABILITY)
    bins = _confidence_bin(confidence)
    rows = [np.bincount(bins, row, CALIBRATION_BINS) for row in (cases, cases * confidence, hits)]
    mirrored = histogram[::-1, ::-1]  # the first class's score is 1 less the second one's
    return _sums(confusion, np.stack(rows), np.stack([mirrored, histogram]))


def _sums(confusion: Array, calibration: Array, histogram: Array) -> ClassificationSums:
    """Sums of counts; their loss is that of each true class's scores, in the middle of their bins."""
    loss = -(histogram[:, 1] * np.log(_PROBABILITY)).sum()
    classes = len(confusion)
    return ClassificationSums(
        loss=float(loss),
        confusion=confusion.astype(np.int64),
        calibration=calibration.astype(np.float64),
        histogram=histogram.astype(np.int64),
        scores=np.zeros((0, classes)),
        labels=np.zeros(0, dtype=np.int64),
    )
