"""Counts and metrics of a risk that is told at every step of a record.

The last step of a case, when all of it has been seen, is counted as a classification of two classes: no
event, and event. How early the risk is known is told by AUROC after a quarter, a half and three quarters of
each case's steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from common.metrics.classification import ClassificationSums, metrics_of, ranking_of
from common.metrics.ranking import Ranking, score_histogram
from common.metrics.sums import Array, Figure, check_like, ratio

SHARES = {"quarter": 0.25, "half": 0.5, "three_quarters": 0.75}
"""Of a case's steps, after which the risk is judged before its end."""

STRICT = 0.9
"""Specificity at which sensitivity is given, and the other way round."""


@dataclass(frozen=True, slots=True, eq=False)
class RiskSums(ClassificationSums):
    """Counts over n cases, of their last step but for ``early``.

    Attributes:
        early: (3, 2, 512) risk after a quarter, a half and three quarters of the steps, by score, of cases
            without (0) and with (1) the event.
        pairs: (3,) int64 concordant, tied and comparable pairs of cases whose times are known (Harrell et al.
            1982). Pairs are made of cases that were counted together, at most 256 of one site: no case is
            compared with another hospital's, and sums of sites have no pairs between them.
    """

    FIGURES: ClassVar[tuple[Figure, ...]] = (
        Figure("auroc", "AUROC"),
        Figure("auprc", "AUPRC"),
        Figure("auroc_quarter", "AUROC at a quarter", brief="AUROC at 1/4"),
        Figure("auroc_half", "AUROC at half", brief="at 1/2"),
        Figure("auroc_three_quarters", "AUROC at three quarters", brief="at 3/4"),
        Figure("concordance", "Concordance"),
        Figure("sensitivity_strict", "Sensitivity at 90 % specificity"),
        Figure("specificity_strict", "Specificity at 90 % sensitivity"),
        Figure("accuracy", "Accuracy"),
        Figure("balanced_accuracy", "Balanced accuracy"),
        Figure("calibration_error", "Calibration error", higher_is_better=False),
    )

    early: Array
    pairs: Array

    @classmethod
    def none(cls, classes: int) -> RiskSums:
        """The sums of no case."""
        return cls.observed(np.zeros((0, 1)), np.zeros(0, dtype=int), np.zeros((0, 2)), keep=False)

    def check(self, classes: int) -> None:
        """See the base class."""
        if classes != 2:
            raise ValueError(f"a risk has no {classes} classes")
        ClassificationSums.check(self, classes)  # slots make a new class, in which super() is not known
        check_like(self, self.none(classes), ("early", "pairs"))
        if (self.early.sum(axis=(1, 2)) != self.n).any():
            raise ValueError("early risks are not of the cases counted")
        concordant, tied, comparable = self.pairs.tolist()
        if concordant + tied > comparable or comparable > self.n * self.n:
            raise ValueError("more pairs than the cases have")

    def figures(self, classes: Sequence[str]) -> dict[str, Any]:
        """Those of the last step (:class:`common.metrics.Metrics`), and those that a risk has besides."""
        last = ranking_of(self, 1)
        concordant, tied, comparable = self.pairs.tolist()
        return {
            **asdict(metrics_of(self, classes)),
            **{
                f"auroc_{share}": Ranking.of_histogram(histogram).auroc()
                for share, histogram in zip(SHARES, self.early, strict=True)
            },
            "concordance": ratio(concordant + tied / 2, comparable),
            "sensitivity_strict": last.sensitivity(STRICT),
            "specificity_strict": last.specificity(STRICT),
        }

    @classmethod
    def observed(cls, risks: Array, lengths: Array, outcomes: Array, *, keep: bool) -> RiskSums:
        """The sums of some predictions.

        Args:
            risks: (n, T) float, probability of the event by what was seen until each step.
            lengths: (n,) int, own steps of each case.
            outcomes: (n, 2) float: whether the event came (0 or 1), and its time or that of censoring; -1
                where the time is not known.
            keep: Carry the single risks of last steps along.
        """
        case, event = np.arange(len(risks)), outcomes[:, 0] > 0.5
        last = risks[case, lengths - 1].astype(np.float64)
        early = [risks[case, np.ceil(share * lengths).astype(int) - 1] for share in SHARES.values()]
        scores = np.stack([1 - last, last], axis=1)
        counted = ClassificationSums.count(scores, event.astype(np.int64), keep_scores=keep)
        return cls(
            loss=counted.loss,
            **counted.arrays(),
            early=np.stack([score_histogram(score, event) for score in early]),
            pairs=concordant_pairs(last, event, outcomes[:, 1]),
        )


def concordant_pairs(risk: Array, event: Array, time: Array) -> Array:
    """(3,) int64 concordant, tied and comparable pairs (Harrell et al. 1982).

    A pair is comparable if the one with the shorter time had the event; of equal times, if only one had it.
    It is concordant if that one's risk is the higher.

    Args:
        risk: (n,) float, the higher the sooner.
        event: (n,) bool, whether ``time`` is that of the event and not of censoring.
        time: (n,) float; below zero where it is not known.
    """
    known = time >= 0
    risk, event, time = risk[known], event[known], time[known]
    sooner = (time[:, None] < time) | ((time[:, None] == time) & ~event)
    comparable = sooner & event[:, None]
    higher, equal = risk[:, None] > risk, risk[:, None] == risk
    counts = [(comparable & higher).sum(), (comparable & equal).sum(), comparable.sum()]
    return np.array(counts, dtype=np.int64)
