"""What every task has: a loss for each case, and counts of how a model does; a new task is one entry here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from common.learning.classification import Classification
from common.learning.detection import Detection
from common.learning.generation import Generation
from common.learning.risk import Risk
from common.learning.segmentation import Segmentation
from common.learning.several_labels import SeveralLabels
from common.metrics import EvaluationSums
from common.sequences import SequenceBatch
from common.study import Study


class Learning(Protocol):
    """One study's task."""

    def loss(self, output: torch.Tensor, batch: SequenceBatch) -> torch.Tensor:
        """What a training step makes less: a scalar; the study's weights of classes are in it."""
        ...

    def losses(self, output: torch.Tensor, batch: SequenceBatch) -> torch.Tensor:
        """(B,) float32, in nats: each case's own loss, which depends on no other case."""
        ...

    def count(self, output: torch.Tensor, batch: SequenceBatch, *, keep: bool) -> EvaluationSums:
        """Counts of a batch.

        Args:
            output: What the model made of the batch; all of it is finite.
            batch: The cases.
            keep: Carry single cases' figures along, for exact metrics.
        """
        ...


TASKS: dict[str, Callable[[Study, tuple[float, ...]], Learning]] = {
    "classification": Classification,
    "several labels": SeveralLabels,
    "generation": Generation,
    "risk": Risk,
    "segmentation": Segmentation,
    "detection": Detection,
}
"""By what a study learns: its task, or a classification with several labels a case."""


def learning_of(study: Study, class_weights: tuple[float, ...] = ()) -> Learning:
    """The task of a study.

    Args:
        study: Its ``[study]`` and ``[training]``.
        class_weights: Weight of each class in the training loss; empty for equal ones.
    """
    return TASKS[study.study.learns](study, class_weights)
