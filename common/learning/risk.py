"""Whether an event comes, told at every step of a record; the model gives (B, T) logits.

Every step is to tell the outcome of its case (target replication, Lipton et al. 2016, arXiv 1511.03677): a
model that is only asked at the end learns slowly from long records, and says nothing before it. Of a case
with n steps, step t = 1 .. n counts with the weight

    w(t) = t / (1 + 2 + .. + n)

so a case counts once however long it is, and late steps, at which more is known, count more.
"""

from __future__ import annotations

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from common.metrics import RiskSums
from common.models.masks import time_mask
from common.sequences import SequenceBatch
from common.study import Study


class Risk:
    """See :class:`common.learning.learning.Learning`; targets are (N, 2): event, and time or -1."""

    def __init__(self, study: Study, class_weights: tuple[float, ...]) -> None:
        self._weights = class_weights

    def loss(self, output: torch.Tensor, batch: SequenceBatch) -> torch.Tensor:
        """Mean of :meth:`losses`, weighted by outcome."""
        losses = self.losses(output, batch)
        if not self._weights:
            return losses.mean()
        without, with_event = self._weights
        weight = without + (with_event - without) * batch.targets[:, 0]
        return (losses * weight).sum() / weight.sum()

    def losses(self, output: torch.Tensor, batch: SequenceBatch) -> torch.Tensor:
        """(B,) binary cross-entropy, weighted over the case's steps."""
        event = batch.targets[:, :1].expand_as(output)
        each = binary_cross_entropy_with_logits(output.float(), event, reduction="none")
        return (each * step_weights(batch.lengths, output.shape[1], output.device)).sum(dim=1)

    def count(self, output: torch.Tensor, batch: SequenceBatch, *, keep: bool) -> RiskSums:
        """Counts of the risks."""
        risks = output.double().sigmoid().cpu().numpy()
        return RiskSums.observed(risks, batch.lengths.numpy(), batch.targets.cpu().numpy(), keep=keep)


def step_weights(lengths: torch.Tensor, steps: int, device: torch.device) -> torch.Tensor:
    """(B, steps) weight of each step of each case: rising, zero on padding, one in sum."""
    place = torch.arange(1, steps + 1, dtype=torch.float32, device=device)
    weights = time_mask(lengths, steps, device) * place
    return weights / weights.sum(dim=1, keepdim=True)
