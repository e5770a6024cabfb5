"""Several labels a case, or none; the model gives (B, C) logits, each of which is a question of its own."""

from __future__ import annotations

import torch
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from common.metrics import SeveralLabelsSums
from common.sequences import SequenceBatch
from common.study import Study


class SeveralLabels:
    """See :class:`common.learning.learning.Learning`; targets are (N, C) float32 of 0 and 1.

    Args:
        study: Not looked at.
        class_weights: None; a study with several labels has no classes of which a case has one.
    """

    def __init__(self, study: Study, class_weights: tuple[float, ...] = ()) -> None:
        del study, class_weights

    def loss(self, output: torch.Tensor, batch: SequenceBatch) -> torch.Tensor:
        """Mean binary cross-entropy over the cases and labels."""
        return cross_entropy(output, batch.targets)

    def losses(self, output: torch.Tensor, batch: SequenceBatch) -> torch.Tensor:
        """(B,) mean binary cross-entropy of a label."""
        return cross_entropy(output.float(), batch.targets, reduction="none").mean(dim=1)

    def count(self, output: torch.Tensor, batch: SequenceBatch, *, keep: bool) -> SeveralLabelsSums:
        """Counts of the labels' probabilities."""
        scores = output.double().sigmoid().cpu().numpy()
        return SeveralLabelsSums.count(scores, batch.targets.cpu().numpy(), keep_scores=keep)
