"""Counts and metrics of a classification. A metric that is not defined on these cases is None.

Scores are kept as a histogram of their logits; where a site allows it (simulation), they are kept one by
one, and the ranking metrics are exact.

Binary studies: precision, recall, F1 and AUROC are those of the second class. With more classes they
are means over the classes that occur.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from common.metrics.sums import Array, EvaluationSums, Figure, check_like, mean, ratio

CALIBRATION_BINS = 15
SCORE_BINS = 512
LOGIT_RANGE = 12.0
ROC_POINTS = 200


@dataclass(frozen=True, slots=True, eq=False)
class ClassificationSums(EvaluationSums):
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

    ROWS: ClassVar[frozenset[str]] = frozenset({"scores", "labels"})
    FIGURES: ClassVar[tuple[Figure, ...]] = (
        Figure("auroc", "AUROC"),
        Figure("accuracy", "Accuracy"),
        Figure("balanced_accuracy", "Balanced accuracy"),
        Figure("f1", "F1"),
        Figure("recall", "Recall"),
        Figure("precision", "Precision"),
        Figure("calibration_error", "Calibration error", higher_is_better=False),
    )

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

    @classmethod
    def none(cls, classes: int) -> ClassificationSums:
        """The sums of no case."""
        return cls.count(np.zeros((0, classes)), np.zeros(0, dtype=int), keep_scores=False)

    def check(self, classes: int) -> None:
        """See the base class."""
        check_like(self, self.none(classes), ("confusion", "calibration", "histogram"))
        scores, labels = self.scores, self.labels
        if (scores.dtype.str, labels.dtype.str, labels.ndim) != ("<f8", "<i8", 1):
            raise ValueError(f"scores are {scores.dtype}, their labels {labels.dtype}{labels.shape}")
        if scores.shape != (len(labels), classes) or len(labels) not in (0, self.n):
            raise ValueError("scores do not match their labels")
        if not ((scores >= 0) & (scores <= 1)).all() or not ((labels >= 0) & (labels < classes)).all():
            raise ValueError("scores are no probabilities, or labels no classes")

    def figures(self, classes: Sequence[str]) -> dict[str, Any]:
        """See :class:`Metrics`."""
        return metrics_of(self, classes).to_dict()

    def curves(self, classes: Sequence[str]) -> dict[str, Any]:
        """See :func:`curves_of`."""
        return curves_of(self, classes)

    @classmethod
    def count(cls, scores: Array, labels: Array, *, keep_scores: bool) -> ClassificationSums:
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


@dataclass(frozen=True, slots=True)
class Metrics:
    """The figures of one model on n cases; ``labels`` counts the cases of each class."""

    n: int
    loss: float | None
    accuracy: float | None
    balanced_accuracy: float | None
    auroc: float | None
    f1: float | None
    recall: float | None
    precision: float | None
    calibration_error: float | None
    labels: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As written to run.json."""
        return asdict(self)


def metrics_of(sums: ClassificationSums, classes: Sequence[str]) -> Metrics:
    """All metrics of ``sums``; ``classes`` names the rows of its confusion matrix."""
    n, confusion = sums.n, sums.confusion
    true, predicted, hit = confusion.sum(axis=1), confusion.sum(axis=0), confusion.diagonal()
    reported = [1] if len(classes) == 2 else [c for c in range(len(classes)) if true[c]]
    return Metrics(
        n=n,
        loss=ratio(sums.loss, n),
        accuracy=ratio(hit.sum(), n),
        balanced_accuracy=mean([ratio(hit[c], true[c]) for c in range(len(classes)) if true[c]]),
        auroc=mean([_auroc(*_roc(sums, c)) for c in reported]),
        f1=mean([ratio(2 * hit[c], true[c] + predicted[c]) for c in reported]),
        recall=mean([ratio(hit[c], true[c]) for c in reported]),
        precision=mean([ratio(hit[c], predicted[c]) for c in reported]),
        calibration_error=_calibration_error(sums),
        labels={name: int(count) for name, count in zip(classes, true, strict=True)},
    )


def curves_of(sums: ClassificationSums, classes: Sequence[str]) -> dict[str, Any]:
    """Confusion matrix, ROC and reliability curve, as run.json carries them for the final model."""
    cases, confidence, correct = sums.calibration
    return {
        "confusion": sums.confusion.tolist(),
        "roc": {
            classes[c]: _thinned(*_roc(sums, c)) for c in ([1] if len(classes) == 2 else range(len(classes)))
        },
        "calibration": {
            "confidence": [ratio(total, k) for total, k in zip(confidence, cases, strict=True)],
            "accuracy": [ratio(total, k) for total, k in zip(correct, cases, strict=True)],
            "n": [int(k) for k in cases],
        },
    }


def _roc(sums: ClassificationSums, of_class: int) -> tuple[Array, Array]:
    """False and true positives, cumulated from the highest score down; ties are one step."""
    if sums.exact:
        values, positions = np.unique(sums.scores[:, of_class], return_inverse=True)
        is_class = sums.labels == of_class
        steps = np.stack(
            [np.bincount(positions[is_class == side], minlength=len(values)) for side in (False, True)]
        )
    else:
        steps = sums.histogram[of_class]
    return np.cumsum(steps[0][::-1]), np.cumsum(steps[1][::-1])


def _auroc(false: Array, true: Array) -> float | None:
    """Area under the ROC curve: the probability that a positive outscores a negative, ties half."""
    if not len(false) or not false[-1] or not true[-1]:
        return None
    area = _area(false, true)
    return float(area / (false[-1] * true[-1]))


def _area(false: Array, true: Array) -> float:
    """Trapezoidal rule."""
    width, height = np.diff(np.r_[0, false]), np.r_[0, true]
    return float((width * (height[1:] + height[:-1]) / 2).sum())


def _thinned(false: Array, true: Array) -> dict[str, list[float]]:
    if not len(false) or not false[-1] or not true[-1]:
        return {"fpr": [], "tpr": []}
    at = np.unique(np.linspace(0, len(false) - 1, min(len(false), ROC_POINTS - 1)).astype(int))
    return {
        "fpr": [0.0, *(false[at] / false[-1]).round(5).tolist()],
        "tpr": [0.0, *(true[at] / true[-1]).round(5).tolist()],
    }


def _calibration_error(sums: ClassificationSums) -> float | None:
    """Expected calibration error (Naeini et al. 2015): mean of |confidence - accuracy| over the bins."""
    _, confidence, correct = sums.calibration
    return ratio(np.abs(confidence - correct).sum(), sums.n)


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
