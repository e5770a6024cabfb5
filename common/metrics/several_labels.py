"""Counts and metrics of a classification in which a case may have several labels, or none.

Every label is a question of its own: yes or no. A figure is the mean over the labels for which it is defined.
Scores are kept as histograms of their logits; where a site allows it (simulation), they are kept one by one,
and the ranking figures are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.metrics.ranking import Ranking, score_histogram
from common.metrics.reliability import calibration_error, reliability, reliability_curve
from common.metrics.sums import Array, EvaluationSums, Figure, check_like, mean, ratio

Value = float | None


@dataclass(frozen=True, slots=True, eq=False)
class SeveralLabelsSums(EvaluationSums):
    """Counts over n cases of C labels.

    Attributes:
        loss: Sum over the cases of the mean binary cross-entropy of a label, in nats.
        counts: (C, 2, 2) cases by label, by whether they have it (row) and whether its probability is at
            least one half (column).
        calibration: (3, 15) per bin of confidence, over all labels of all cases: answers, sum of confidences,
            right answers.
        histogram: (C, 2, 512) scores of each label, over the cases that have it not (0) and have it (1).
        squares: (C,) sum of squared distances of the probability from 0 or 1.
        scores: (n, C) probabilities, or (0, C) where single scores stay at the site.
        truths: (n, C) 0 or 1, of each row of ``scores``.
    """

    ROWS: ClassVar[frozenset[str]] = frozenset({"scores", "truths"})
    FIGURES: ClassVar[tuple[Figure, ...]] = (
        Figure("auroc", "AUROC"),
        Figure("auprc", "AUPRC"),
        Figure("f1", "F1"),
        Figure("recall", "Recall"),
        Figure("precision", "Precision"),
        Figure("brier", "Brier score", higher_is_better=False, brief=""),
        Figure("calibration_error", "Calibration error", higher_is_better=False, brief="ECE"),
    )

    counts: Array
    calibration: Array
    histogram: Array
    squares: Array
    scores: Array
    truths: Array

    @property
    def n(self) -> int:
        """Cases counted."""
        return int(self.counts[0].sum())

    @property
    def exact(self) -> bool:
        """Whether every case counted is also here as single scores."""
        return len(self.truths) == self.n

    @classmethod
    def none(cls, classes: int) -> SeveralLabelsSums:
        """The sums of no case."""
        return cls.count(np.zeros((0, classes)), np.zeros((0, classes)), keep_scores=False)

    @classmethod
    def count(cls, scores: Array, truths: Array, *, keep_scores: bool) -> SeveralLabelsSums:
        """The sums of some predictions.

        Args:
            scores: (n, C) float, probability of each label.
            truths: (n, C), 0 or 1.
            keep_scores: Carry the single scores along, for exact ranking figures.
        """
        scores, has = scores.astype(np.float64), truths.astype(bool)
        labels = range(scores.shape[1])
        said = scores >= 0.5
        right = np.clip(np.where(has, scores, 1 - scores), 1e-12, 1.0)
        kept = len(scores) if keep_scores else 0
        return cls(
            loss=float(-np.log(right).mean(axis=1).sum()) if len(scores) else 0.0,
            counts=np.stack([_two_by_two(has[:, c], said[:, c]) for c in labels]),
            calibration=reliability(np.maximum(scores, 1 - scores).ravel(), (said == has).ravel()),
            histogram=np.stack([score_histogram(scores[:, c], has[:, c]) for c in labels]),
            squares=np.square(scores - has).sum(axis=0),
            scores=scores[:kept],
            truths=has[:kept].astype(np.int64),
        )

    def check(self, classes: int) -> None:
        """See the base class."""
        check_like(self, self.none(classes), ("counts", "calibration", "histogram", "squares"))
        if len({int(cases) for cases in self.counts.sum(axis=(1, 2))}) > 1:
            raise ValueError("labels are counted over different numbers of cases")
        if (self.squares > self.n).any():
            raise ValueError("squares are larger than their cases can have")
        scores, truths = self.scores, self.truths
        if (scores.dtype.str, truths.dtype.str) != ("<f8", "<i8"):
            raise ValueError(f"scores are {scores.dtype}, their truths {truths.dtype}")
        if (
            scores.shape != (len(truths), classes)
            or truths.shape != scores.shape
            or len(truths) not in (0, self.n)
        ):
            raise ValueError("scores do not match their truths")
        if not ((scores >= 0) & (scores <= 1)).all() or not ((truths == 0) | (truths == 1)).all():
            raise ValueError("scores are no probabilities, or truths are neither 0 nor 1")

    def drawn(self, index: Array) -> SeveralLabelsSums | None:
        """See the base class."""
        if not self.exact:
            return None
        return SeveralLabelsSums.count(self.scores[index], self.truths[index], keep_scores=True)

    def figures(self, classes: Sequence[str]) -> dict[str, Any]:
        """The figures as means over the labels; ``labels`` counts the cases that have each."""
        return {
            "n": self.n,
            "loss": ratio(self.loss, self.n),
            **{key: mean(self._by_label(key)) for key in _OF_LABEL},
            "calibration_error": calibration_error(self.calibration),
            "labels": {name: int(row[1].sum()) for name, row in zip(classes, self.counts, strict=True)},
        }

    def curves(self, classes: Sequence[str]) -> dict[str, Any]:
        """ROC curve of each label, reliability, and the figures of each label by its name."""
        rankings = zip(classes, (ranking_of_label(self, c) for c in range(len(classes))), strict=True)
        return {
            "roc": {name: ranking.curve() for name, ranking in rankings},
            "calibration": reliability_curve(self.calibration),
            **{f"{key}_by_class": dict(zip(classes, self._by_label(key), strict=True)) for key in _OF_LABEL},
        }

    def _by_label(self, key: str) -> list[Value]:
        return [_OF_LABEL[key](self, label) for label in range(len(self.counts))]


def ranking_of_label(sums: SeveralLabelsSums, label: int) -> Ranking:
    """The cases in the order of one label's scores: exact where single scores are there."""
    if sums.exact:
        return Ranking.of_scores(sums.scores[:, label], sums.truths[:, label].astype(bool))
    return Ranking.of_histogram(sums.histogram[label])


_OF_LABEL: dict[str, Callable[[SeveralLabelsSums, int], Value]] = {
    "auroc": lambda sums, label: ranking_of_label(sums, label).auroc(),
    "auprc": lambda sums, label: ranking_of_label(sums, label).auprc(),
    "f1": lambda sums, label: ratio(
        2 * sums.counts[label][1, 1], sums.counts[label][1].sum() + sums.counts[label][:, 1].sum()
    ),
    "recall": lambda sums, label: ratio(sums.counts[label][1, 1], sums.counts[label][1].sum()),
    "specificity": lambda sums, label: ratio(sums.counts[label][0, 0], sums.counts[label][0].sum()),
    "precision": lambda sums, label: ratio(sums.counts[label][1, 1], sums.counts[label][:, 1].sum()),
    "brier": lambda sums, label: ratio(sums.squares[label], sums.n),
}


def _two_by_two(has: Array, said: Array) -> Array:
    """(2, 2) int64 cases by truth (row) and answer (column)."""
    return np.bincount(2 * has + said, minlength=4).reshape(2, 2)
