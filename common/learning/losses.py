"""What a case's scores lose against its classes: cross-entropy, or the focal loss, with smoothed labels.

With p the probabilities, q the label as a distribution over C classes (``label_smoothing`` e puts 1 - e on
the class and e / C on each; Szegedy et al. 2016) and w the weights of classes:

    loss = - sum_c w_c q_c (1 - p_c)^gamma log p_c

The focal loss (Lin et al. 2017, eq. 4 and 5) makes little of what is known already; gamma = 0 is
cross-entropy. A mean over cases is weighted by the weight of each case's class, as torch's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy, logsigmoid, one_hot

from common.study import Training


@dataclass(frozen=True, slots=True)
class ClassLoss:
    """A study's loss of classes.

    Attributes:
        gamma: Of the focal loss; 0 for cross-entropy.
        smoothing: Share of a label that is spread over all classes.
    """

    gamma: float = 0.0
    smoothing: float = 0.0

    @classmethod
    def of(cls, training: Training) -> ClassLoss:
        """That of a study."""
        return cls(training.focal_gamma or 0.0, training.label_smoothing)

    def mean(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        """The mean over cases, a scalar.

        Args:
            logits: (B, C).
            targets: (B,) int64 classes; or (B, C) of 0 and 1, where a case may have several.
            weights: (C,) of the classes; None for equal ones.
        """
        if targets.ndim == 2:
            each = self._of_labels(logits, targets)
            return each.mean() if weights is None else (each * weights).mean()
        if not self.gamma:
            return cross_entropy(logits, targets, weight=weights, label_smoothing=self.smoothing)
        each = self._focal(logits, targets, weights)
        return each.mean() if weights is None else each.sum() / weights[targets].sum()

    def each(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(B,) float32: what each case loses by itself; for the arguments see :meth:`mean`."""
        logits = logits.float()
        if targets.ndim == 2:
            return self._of_labels(logits, targets).mean(dim=1)
        if not self.gamma:
            return cross_entropy(logits, targets, reduction="none", label_smoothing=self.smoothing)
        return self._focal(logits, targets, None)

    def _focal(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None
    ) -> torch.Tensor:
        """(B,) the loss of cases with one class each."""
        known, classes = logits.float().log_softmax(dim=1), logits.shape[1]
        label = one_hot(targets, classes) * (1 - self.smoothing) + self.smoothing / classes
        lost = -label * _unknown(known, self.gamma) * known
        return (lost if weights is None else lost * weights).sum(dim=1)

    def _of_labels(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(B, C) the loss of each label: each is a choice of two classes, there or not."""
        present = targets * (1 - self.smoothing) + self.smoothing / 2
        there, absent = logsigmoid(logits.float()), logsigmoid(-logits.float())
        lost = present * _unknown(there, self.gamma) * there
        return -(lost + (1 - present) * _unknown(absent, self.gamma) * absent)


def _unknown(log_probability: torch.Tensor, gamma: float) -> torch.Tensor | float:
    """``(1 - p)^gamma``; its slope is finite also where p is 1 and gamma below 1."""
    return (-torch.expm1(log_probability)).clamp_min(1e-12) ** gamma if gamma else 1.0
