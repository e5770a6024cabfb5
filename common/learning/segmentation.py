"""One class for every pixel; the model gives (B, T, C, height, width) logits."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from common.metrics.segmentation import SegmentationSums
from common.metrics.sums import Array
from common.sequences import NO_TARGET, SequenceBatch, from_steps
from common.study import Patches, Rows, Study

SMOOTH = 1.0
"""Pixels added to both sides of Dice: a class that is nowhere, and is found nowhere, loses nothing."""
MOST_NATS = 27.6
"""Of a pixel, in what is reported: a probability of 1e-12."""


class Segmentation:
    """See :class:`common.learning.learning.Learning`; targets are (N, T, height * width) uint8 classes.

    The loss of a case is its mean cross-entropy over the labelled pixels and one less its mean soft Dice over
    the classes but the first, which is the background (Milletari et al. 2016, doi:10.1109/3DV.2016.79; the
    sum of both, Isensee et al. 2021, doi:10.1038/s41592-020-01008-z). Dice is that of the whole case, over
    all of its steps.
    """

    def __init__(self, study: Study, class_weights: tuple[float, ...]) -> None:
        self._sequence = study.sequence
        self._weights = torch.tensor(class_weights) if class_weights else None

    def loss(self, output: torch.Tensor, batch: SequenceBatch) -> torch.Tensor:
        """Mean over the cases; the study's weights of classes are in the cross-entropy."""
        if self._weights is not None:
            self._weights = self._weights.to(output.device)
        return _losses(output, batch.targets, self._weights).mean()

    def losses(self, output: torch.Tensor, batch: SequenceBatch) -> torch.Tensor:
        """(B,) cross-entropy and what Dice lacks."""
        return _losses(output, batch.targets, None)

    def count(self, output: torch.Tensor, batch: SequenceBatch, *, keep: bool) -> SegmentationSums:
        """Counts of the most probable class of each pixel."""
        predicted = output.argmax(dim=2).flatten(2).to(torch.uint8)
        return SegmentationSums.count(
            self._pictures(predicted, output),
            self._pictures(batch.targets, output),
            _losses(output, batch.targets, None, MOST_NATS).cpu().numpy(),
            output.shape[2],
            keep=keep,
        )

    def _pictures(self, pixels: torch.Tensor, output: torch.Tensor) -> Array:
        """(N, T, P) classes of steps to (N, pictures, H, W), each case's own pictures."""
        if isinstance(self._sequence, Rows | Patches):
            return from_steps(pixels.cpu(), self._sequence).unsqueeze(1).numpy()
        return pixels.reshape(*pixels.shape[:2], *output.shape[3:]).cpu().numpy()


def _losses(
    output: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None, most: float | None = None
) -> torch.Tensor:
    """(B,) float32; ``most`` is the most nats of a pixel."""
    logits = output.float().transpose(1, 2).flatten(2)
    pixels = targets.flatten(1).long()
    labelled = pixels != NO_TARGET
    nats = cross_entropy(logits, pixels, weight=weights, ignore_index=NO_TARGET, reduction="none")
    nats = nats if most is None else nats.clamp(max=most)
    mean = nats.sum(dim=1) / labelled.sum(dim=1).clamp(min=1)
    return mean + 1 - _dice(logits.softmax(dim=1), pixels, labelled)


def _dice(probability: torch.Tensor, pixels: torch.Tensor, labelled: torch.Tensor) -> torch.Tensor:
    """(B,) mean soft Dice of each case over the classes but the first.

    Args:
        probability: (B, C, L).
        pixels: (B, L) int64 classes.
        labelled: (B, L) bool, pixels that count.
    """
    probability = probability * labelled.unsqueeze(1)
    true = torch.zeros_like(probability).scatter_(1, (pixels * labelled).unsqueeze(1), 1.0)
    true = true * labelled.unsqueeze(1)
    both, either = (probability * true).sum(dim=2), (probability + true).sum(dim=2)
    return ((2 * both + SMOOTH) / (either + SMOOTH))[:, 1:].mean(dim=1)
