"""How well scores put positive cases above negative ones, read off counts that add across sites.

Scores are counted in bins that are equally wide in their logit; of single scores each value is a bin of its
own, and what is read off is exact. Cases of one bin are ties.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.metrics.sums import Array

SCORE_BINS = 512
LOGIT_RANGE = 12.0
ROC_POINTS = 200


def score_histogram(scores: Array, positive: Array) -> Array:
    """(2, 512) int64 cases by score, of those that are not positive (0) and that are (1).

    Args:
        scores: (n,) float, probabilities.
        positive: (n,) bool.
    """
    clipped = np.clip(scores, 1e-9, 1 - 1e-9)
    place = (np.log(clipped / (1 - clipped)) + LOGIT_RANGE) / (2 * LOGIT_RANGE)
    bins = np.clip((place * SCORE_BINS).astype(int), 0, SCORE_BINS - 1)
    return np.stack([np.bincount(bins[positive == side], minlength=SCORE_BINS) for side in (False, True)])


def bin_edges() -> Array:
    """(513,) the logits at which the bins of a histogram begin and end."""
    return np.linspace(-LOGIT_RANGE, LOGIT_RANGE, SCORE_BINS + 1)


def bin_logits() -> Array:
    """(512,) the logit in the middle of each bin of a histogram."""
    return bin_edges()[:-1] + LOGIT_RANGE / SCORE_BINS


def bin_middles() -> Array:
    """(512,) the probability in the middle of each bin of a histogram."""
    return np.asarray(1 / (1 + np.exp(-bin_logits())))


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Cases in the order of their scores.

    Attributes:
        false: (K,) negatives at or above each score, from the highest score down.
        true: (K,) positives.
    """

    false: Array
    true: Array

    @classmethod
    def of_histogram(cls, histogram: Array) -> Ranking:
        """By (2, K) negatives and positives of each bin, from the lowest score up."""
        return cls(np.cumsum(histogram[0][::-1]), np.cumsum(histogram[1][::-1]))

    @classmethod
    def of_scores(cls, scores: Array, positive: Array) -> Ranking:
        """By single scores (n,), and whether each case is positive (n,)."""
        values, places = np.unique(scores, return_inverse=True)
        sides = [np.bincount(places[positive == side], minlength=len(values)) for side in (False, True)]
        return cls.of_histogram(np.stack(sides))

    @property
    def negatives(self) -> float:
        """Negative cases in all."""
        return float(self.false[-1]) if len(self.false) else 0.0

    @property
    def positives(self) -> float:
        """Positive cases in all."""
        return float(self.true[-1]) if len(self.true) else 0.0

    @property
    def defined(self) -> bool:
        """Whether there are cases of both sides to be put in order."""
        return self.negatives > 0 and self.positives > 0

    def auroc(self) -> float | None:
        """Area under the ROC curve: the probability that a positive outscores a negative, ties half."""
        if not self.defined:
            return None
        width, height = np.diff(np.r_[0, self.false]), np.r_[0, self.true]
        area = float((width * (height[1:] + height[:-1]) / 2).sum())
        return area / (self.negatives * self.positives)

    def auprc(self) -> float | None:
        """Average precision: precision at each score, weighted by the recall that it adds."""
        if not self.defined:
            return None
        found = np.diff(np.r_[0, self.true])
        precision = self.true / np.maximum(self.true + self.false, 1e-12)
        return float((found * precision).sum() / self.positives)

    def sensitivity(self, at_specificity: float) -> float | None:
        """The largest share of positives found where so large a share of negatives lies below."""
        if not self.defined:
            return None
        allowed = self.false <= (1 - at_specificity + 1e-9) * self.negatives
        return float(np.max(self.true, where=allowed, initial=0.0)) / self.positives

    def specificity(self, at_sensitivity: float) -> float | None:
        """The largest share of negatives below a threshold that finds so large a share of positives."""
        if not self.defined:
            return None
        # The threshold above all scores is one, too: nobody is found, and no negative is taken for one.
        enough = np.r_[0, self.true] >= (at_sensitivity - 1e-9) * self.positives
        return 1.0 - float(np.r_[0, self.false][enough].min()) / self.negatives

    def curve(self) -> dict[str, list[float]]:
        """At most 200 points of the ROC curve; none where it is not defined."""
        if not self.defined:
            return {"fpr": [], "tpr": []}
        at = np.unique(np.linspace(0, len(self.false) - 1, min(len(self.false), ROC_POINTS - 1)).astype(int))
        return {
            "fpr": [0.0, *(self.false[at] / self.negatives).round(5).tolist()],
            "tpr": [0.0, *(self.true[at] / self.positives).round(5).tolist()],
        }
