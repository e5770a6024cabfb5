"""How a picture is written, pixel by pixel; the model gives (B, H, W, 3 K) parameters of mixtures."""

from __future__ import annotations

import torch

from common.metrics import GenerationSums
from common.models.logistics import levels_of, log_probabilities
from common.models.masks import time_mask
from common.sequences import SequenceBatch
from common.study import Study


class Generation:
    """See :class:`common.learning.learning.Learning`; targets are (N,) int64 classes.

    A picture's loss is its negative log-likelihood over all its pixels' levels, in nats. That is thousands,
    so the scalar that training makes less is the mean of a pixel.
    """

    def __init__(self, study: Study, class_weights: tuple[float, ...]) -> None:
        self._classes = len(study.study.classes)
        self._weights = class_weights

    def loss(self, output: torch.Tensor, batch: SequenceBatch) -> torch.Tensor:
        """Mean over the pixels, weighted by class."""
        each = self.losses(output, batch) / _pixels(batch).to(output.device)
        if not self._weights:
            return each.mean()
        weights = each.new_tensor(self._weights)[batch.targets]
        return (each * weights).sum() / weights.sum()

    def losses(self, output: torch.Tensor, batch: SequenceBatch) -> torch.Tensor:
        """(B,) nats of each picture."""
        nats = -log_probabilities(output, levels_of(batch.steps))
        own = time_mask(batch.lengths, nats.shape[1], nats.device).unsqueeze(2)
        return nats.masked_fill(~own, 0.0).sum(dim=(1, 2))

    def count(self, output: torch.Tensor, batch: SequenceBatch, *, keep: bool) -> GenerationSums:
        """Counts by class; a sum of nats is exact as it is, so no single picture's is kept."""
        nats = self.losses(output, batch).double().cpu().numpy()
        labels = batch.targets.cpu().numpy()
        return GenerationSums.count(nats, _pixels(batch).numpy(), labels, self._classes)


def _pixels(batch: SequenceBatch) -> torch.Tensor:
    """(B,) pixels of each picture."""
    return batch.lengths * batch.steps.shape[2]
