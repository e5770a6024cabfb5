"""One class a case; the model gives (B, C) logits."""

from __future__ import annotations

import torch

from common.learning.losses import ClassLoss
from common.metrics import ClassificationSums
from common.sequences import SequenceBatch
from common.study import Study


class Classification:
    """See :class:`common.learning.learning.Learning`; targets are (N,) int64 classes."""

    def __init__(self, study: Study, class_weights: tuple[float, ...]) -> None:
        self._weights = torch.tensor(class_weights) if class_weights else None
        self._loss = ClassLoss.of(study.training)

    def loss(self, output: torch.Tensor, batch: SequenceBatch) -> torch.Tensor:
        """Mean loss, weighted by class."""
        if self._weights is not None:
            self._weights = self._weights.to(output.device)
        return self._loss.mean(output, batch.targets, self._weights)

    def losses(self, output: torch.Tensor, batch: SequenceBatch) -> torch.Tensor:
        """(B,) the study's loss of each case, whatever the weights of classes."""
        return self._loss.each(output, batch.targets)

    def count(self, output: torch.Tensor, batch: SequenceBatch, *, keep: bool) -> ClassificationSums:
        """Counts of the classes' probabilities."""
        scores = output.float().softmax(dim=1).cpu().numpy()
        return ClassificationSums.count(scores, batch.targets.cpu().numpy(), keep_scores=keep)
