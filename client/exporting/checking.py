"""Whether an exported model says what the original says, on other batches and lengths than its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from client.exporting.formats import Run
from client.predicting.model import TrainedModel, learns
from common.errors import ExportDiffers
from common.models.masks import time_mask

FLOAT_TOLERANCE = 1e-5
INT8_TOLERANCE = 0.05
"""Largest difference of a probability, uncalibrated."""

SHAPES = ((1, 1), (1, 16), (2, 5), (3, 9), (5, 33), (7, 20))
"""Batch and longest length; and the study's own length where it has one."""
SEED = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the check found.

    Attributes:
        difference: Largest difference of a probability.
        logits: Largest difference of a logit.
        cases: On how many cases.
        tolerance: What ``difference`` may be.
    """

    difference: float
    logits: float
    cases: int
    tolerance: float


def compared(model: TrainedModel, run: Run, features: int, tolerance: float) -> Comparison:
    """Compare on random cases whose values are spread as those of standardised pictures are.

    Raises:
        ExportDiffers: A probability differs by more than ``tolerance``, or is no number.
    """
    network, learnt, difference, logits, cases = model.network, learns(model.study), 0.0, 0.0, 0
    for steps, lengths in _batches(model, features):
        with torch.no_grad():
            original = network(steps.to(model.device), lengths).float().cpu()
        exported = run(steps, lengths).float()
        if learnt == "risk":  # what stands behind a case's own steps means nothing
            behind = ~time_mask(lengths, steps.shape[1], torch.device("cpu"))
            original = original.masked_fill(behind, 0.0)
            exported = exported.masked_fill(behind, 0.0) if exported.shape == original.shape else exported
        if exported.shape != original.shape or not exported.isfinite().all():
            raise ExportDiffers(
                f"it gives {tuple(exported.shape)} for {tuple(original.shape)}, or no numbers"
            )
        logits = max(logits, float((exported - original).abs().max()))
        apart = _probabilities(exported, learnt) - _probabilities(original, learnt)
        difference = max(difference, float(apart.abs().max()))
        cases += len(steps)
    if difference > tolerance:
        raise ExportDiffers(f"a probability differs by {difference:.2g}; {tolerance:g} is allowed")
    return Comparison(difference, logits, cases, tolerance)


def _probabilities(logits: torch.Tensor, learnt: str) -> torch.Tensor:
    """Of logits of the classes of one case; or of labels, or steps, each a question of its own."""
    return logits.softmax(1) if learnt == "classification" else logits.sigmoid()


def _batches(model: TrainedModel, features: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(SEED)
    own = getattr(model.study.sequence, "steps", None)
    for batch, longest in (*SHAPES, *(((4, own),) if own else ())):
        lengths = torch.randint(1, longest + 1, (batch,), generator=generator)
        lengths[0] = longest
        steps = torch.randn(batch, longest, features, generator=generator)
        mask = torch.arange(longest)[None, :] < lengths[:, None]
        yield steps * mask.unsqueeze(2), lengths
