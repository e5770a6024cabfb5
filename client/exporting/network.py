"""The network that is exported: the model's own layers, with masks in place of packed sequences."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import nn

from client.exporting.masked import MaskedLast, MaskedRecurrent, masked_encoder
from client.predicting.model import TrainedModel, learns
from common.errors import TaskNotServed
from common.models import SequenceClassifier, SequenceModel
from common.models.masks import time_mask
from common.models.pooling import LastPool
from common.models.risk import RiskModel


class _Exportable(nn.Module):
    """A model's encoder and recurrent layers, without packed sequences; its weights are copied."""

    def __init__(self, own: SequenceModel) -> None:
        super().__init__()
        self.encoder = masked_encoder(own.encoder)
        self.recurrent = MaskedRecurrent(own.recurrent)

    def states(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T', width) what the recurrent layers give, and the lengths behind the encoder."""
        features, lengths = self.encoder(steps, lengths)
        return self.recurrent(features, lengths), lengths


class ExportableClassifier(_Exportable):
    """What :class:`~common.models.SequenceClassifier` gives in eval mode.

    Args:
        network: The model; its weights are copied.

    Raises:
        TaskNotServed: A layer of it cannot be exported.
    """

    def __init__(self, network: SequenceClassifier) -> None:
        own = deepcopy(network).cpu().eval()
        super().__init__(own)
        self.pooling = MaskedLast(own.pooling) if isinstance(own.pooling, LastPool) else own.pooling
        self.head = own.head
        self.eval()

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, classes) float32 logits of (B, T, F) float32 and (B,) int64."""
        outputs, lengths = self.states(steps, lengths)
        logits: torch.Tensor = self.head(
            self.pooling(outputs, time_mask(lengths, outputs.shape[1], outputs.device))
        )
        return logits


class ExportableRisk(_Exportable):
    """What :class:`~common.models.risk.RiskModel` gives in eval mode.

    Args:
        network: The model; its weights are copied.

    Raises:
        TaskNotServed: A layer of it cannot be exported.
    """

    def __init__(self, network: RiskModel) -> None:
        own = deepcopy(network).cpu().eval()
        super().__init__(own)
        self.head = own.head
        self.eval()

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, T) float32 logits; behind a case's own steps they mean nothing."""
        logits: torch.Tensor = self.head(self.states(steps, lengths)[0]).squeeze(2)
        return logits


def _risk(network: SequenceModel) -> nn.Module:
    if not isinstance(network, RiskModel):
        raise TaskNotServed(f"a model of kind {type(network).__name__} cannot be exported yet")
    return ExportableRisk(network)


def _classifier(network: SequenceModel) -> nn.Module:
    if not isinstance(network, SequenceClassifier):
        raise TaskNotServed(f"a model of kind {type(network).__name__} cannot be exported yet")
    return ExportableClassifier(network)


TASKS: dict[str, Callable[[SequenceModel], nn.Module]] = {
    "classification": _classifier,
    "several labels": _classifier,
    "risk": _risk,
}
"""By what a study learns."""


def exportable(model: TrainedModel) -> nn.Module:
    """The network of a model, ready to be exported, on the CPU.

    Raises:
        TaskNotServed: Its task, or a layer of it, cannot be exported.
    """
    task = learns(model.study)
    if task not in TASKS:
        raise TaskNotServed(f"export serves {', '.join(TASKS)}; this is a model of {task}")
    return TASKS[task](model.network)
