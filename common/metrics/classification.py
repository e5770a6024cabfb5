"""Counts and metrics of a classification. A metric that is not defined on these cases is None.

Scores are kept as a histogram of their logits; where a site allows it (simulation), they are kept one by
one, and the ranking metrics are exact.

Binary studies: precision, recall, F1 and AUROC are those of the second class. With more classes they
are means over the classes that occur.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from common.metrics.ranking import Ranking, bin_middles, score_histogram
from common.metrics.reliability import calibration_error, reliability, reliability_curve
from common.metrics.sums import Array, EvaluationSums, Figure, check_like, mean, ratio


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
        Figure("balanced_accuracy", "Balanced accuracy", brief=""),
        Figure("f1", "F1"),
        Figure("recall", "Recall"),
        Figure("precision", "Precision"),
        Figure("auprc", "AUPRC", brief=""),
        Figure("calibration_error", "Calibration error", higher_is_better=False, brief="ECE"),
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

    def drawn(self, index: Array) -> ClassificationSums | None:
        """See the base class."""
        if not self.exact:
            return None
        return ClassificationSums.count(self.scores[index], self.labels[index], keep_scores=True)

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
            calibration=reliability(scores.max(axis=1), scores.argmax(axis=1) == labels),
            histogram=np.stack([score_histogram(scores[:, c], labels == c) for c in range(classes)]),
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
    auprc: float | None
    f1: float | None
    recall: float | None
    precision: float | None
    specificity: float | None
    brier: float | None
    calibration_error: float | None
    labels: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As written to run.json."""
        return asdict(self)


def metrics_of(sums: ClassificationSums, classes: Sequence[str]) -> Metrics:
    """All metrics of ``sums``; ``classes`` names the rows of its confusion matrix."""
    n, confusion = sums.n, sums.confusion
    true, hit = confusion.sum(axis=1), confusion.diagonal()
    reported = [1] if len(classes) == 2 else [c for c in range(len(classes)) if true[c]]
    averaged = {key: mean([of(sums, c) for c in reported]) for key, of in _OF_CLASS.items()}
    return Metrics(
        n=n,
        loss=ratio(sums.loss, n),
        accuracy=ratio(hit.sum(), n),
        balanced_accuracy=mean([ratio(hit[c], true[c]) for c in range(len(classes)) if true[c]]),
        brier=_brier(sums),
        calibration_error=calibration_error(sums.calibration),
        labels={name: int(count) for name, count in zip(classes, true, strict=True)},
        **averaged,
    )


def _brier(sums: ClassificationSums) -> float | None:
    """Mean over the cases of the squared distance of the probabilities from the truth, summed over classes.

    Without single scores each stands in the middle of its bin, which is less than 0.003 off.
    """
    if sums.exact:
        truth = np.eye(len(sums.confusion))[sums.labels]
        return ratio(float(np.square(sums.scores - truth).sum()), sums.n)
    middles = bin_middles()
    return ratio(float((sums.histogram * np.stack([middles, 1 - middles]) ** 2).sum()), sums.n)


_OF_CLASS: dict[str, Callable[[ClassificationSums, int], float | None]] = {
    "auroc": lambda sums, c: ranking_of(sums, c).auroc(),
    "auprc": lambda sums, c: ranking_of(sums, c).auprc(),
    "f1": lambda sums, c: ratio(
        2 * sums.confusion[c, c], sums.confusion[c].sum() + sums.confusion[:, c].sum()
    ),
    "recall": lambda sums, c: ratio(sums.confusion[c, c], sums.confusion[c].sum()),
    "precision": lambda sums, c: ratio(sums.confusion[c, c], sums.confusion[:, c].sum()),
    "specificity": lambda sums, c: ratio(
        np.delete(np.delete(sums.confusion, c, axis=0), c, axis=1).sum(),
        np.delete(sums.confusion, c, axis=0).sum(),
    ),
}
"""Figures of one class against the rest."""


def _by_class(sums: ClassificationSums, classes: Sequence[str]) -> dict[str, dict[str, float | None]]:
    return {
        f"{key}_by_class": {name: of(sums, c) for c, name in enumerate(classes)}
        for key, of in _OF_CLASS.items()
    }


def curves_of(sums: ClassificationSums, classes: Sequence[str]) -> dict[str, Any]:
    """Confusion matrix, ROC and reliability curve, as run.json carries them for the final model."""
    return {
        "confusion": sums.confusion.tolist(),
        "roc": {
            classes[c]: ranking_of(sums, c).curve()
            for c in ([1] if len(classes) == 2 else range(len(classes)))
        },
        "calibration": reliability_curve(sums.calibration),
        **(_by_class(sums, classes) if len(classes) > 2 else {}),
    }


def ranking_of(sums: ClassificationSums, of_class: int) -> Ranking:
    """The cases in the order of one class's scores: exact where single scores are there."""
    if sums.exact:
        return Ranking.of_scores(sums.scores[:, of_class], sums.labels == of_class)
    return Ranking.of_histogram(sums.histogram[of_class])
