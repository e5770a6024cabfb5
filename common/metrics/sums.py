"""What a site counts when it evaluates a model.

Invariant: ``sums(A) + sums(B) == sums(A and B together)``, so pooled metrics need no prediction to
leave a site. Scores are kept as a histogram of their logits; where a site allows it (simulation),
they are kept one by one, and the ranking metrics are exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

CALIBRATION_BINS = 15
SCORE_BINS = 512
LOGIT_RANGE = 12.0


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationSums:
    """Counts over n cases of C classes.

    Attributes:
        loss: Sum of the cross-entropy in nats.
        confusion: (C, C) cases by true class (row) and predicted class (column).
        calibration: (3, 15) per confidence bin: cases, sum of confidences, correct predictions.
        histogram: (C, 2, 512) scores of each class against the rest, over the cases that are not
            (0) and that are (1) of this class; bins are equally wide in the logit from -12 to 12.
        scores: (n, C) class probabilities, or (0, C) where single scores stay at the site.
        labels: (n,) true class of each row of ``scores``.
    """

    loss: float
    confusion: Array
    calibration: Array
    histogram: Array
    scores: Array
    labels: Array

    @property
    def n(self) -> int:
        """Cases counted."""
        return int(self.confusion.sum())

    @property
    def exact(self) -> bool:
        """Whether every case counted is also here as a single score."""
        return len(self.labels) == self.n

    def __add__(self, other: EvaluationSums) -> EvaluationSums:
        return EvaluationSums(
            loss=self.loss + other.loss,
            confusion=self.confusion + other.confusion,
            calibration=self.calibration + other.calibration,
            histogram=self.histogram + other.histogram,
            scores=np.concatenate([self.scores, other.scores]),
            labels=np.concatenate([self.labels, other.labels]),
        )

    @classmethod
    def total(cls, parts: Iterable[EvaluationSums]) -> EvaluationSums:
        """The sum of one or more, added in their order; no more than one of them is needed at a time."""
        scores: list[Array] = []
        labels: list[Array] = []

        def counts(part: EvaluationSums) -> EvaluationSums:
            scores.append(part.scores)
            labels.append(part.labels)
            return replace(part, scores=part.scores[:0], labels=part.labels[:0])

        total = reduce(cls.__add__, map(counts, parts))
        return replace(total, scores=np.concatenate(scores), labels=np.concatenate(labels))

    @classmethod
    def count(cls, scores: Array, labels: Array, *, keep_scores: bool) -> EvaluationSums:
        """The sums of some predictions.

        Args:
            scores: (n, C) float, class probabilities that sum to one.
            labels: (n,) int, true classes.
            keep_scores: Carry the single scores along, for exact ranking metrics.
        """
        classes = scores.shape[1]
        scores = scores.astype(np.float64)
        probability = np.clip(scores[np.arange(len(labels)), labels], 1e-12, 1.0)
        confusion = np.zeros((classes, classes), dtype=np.int64)
        np.add.at(confusion, (labels, scores.argmax(axis=1)), 1)
        kept = len(labels) if keep_scores else 0
        return cls(
            loss=float(-np.log(probability).sum()),
            confusion=confusion,
            calibration=_calibration(scores, labels),
            histogram=np.stack([_histogram(scores[:, c], labels == c) for c in range(classes)]),
            scores=scores[:kept],
            labels=labels[:kept].astype(np.int64),
        )


def _calibration(scores: Array, labels: Array) -> Array:
    confidence = scores.max(axis=1)
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    rows = (np.ones(len(labels)), confidence, (scores.argmax(axis=1) == labels).astype(float))
    sums = [np.bincount(bins, weights=row, minlength=CALIBRATION_BINS) for row in rows]
    return np.stack(sums).astype(np.float64)  # of no cases bincount makes integers


def _histogram(score: Array, is_class: Array) -> Array:
    clipped = np.clip(score, 1e-9, 1 - 1e-9)
    place = (np.log(clipped / (1 - clipped)) + LOGIT_RANGE) / (2 * LOGIT_RANGE)
    bins = np.clip((place * SCORE_BINS).astype(int), 0, SCORE_BINS - 1)
    return np.stack([np.bincount(bins[is_class == side], minlength=SCORE_BINS) for side in (False, True)])
