"""How sure a model is of a case: what several versions of it say, and how far they disagree.

Versions are the same network with dropout left on (Monte Carlo dropout, Gal and Ghahramani 2016) where the
study has dropout, else the run's last checkpoints (an ensemble along one run: weaker than one of independent
trainings, whose members would disagree more). Where there is neither, there is the entropy alone.

With p_m the probabilities of version m and H the entropy in nats: predictive entropy H(mean of p_m) is all of
the uncertainty; mutual information H(mean of p_m) - mean of H(p_m) the part that comes from not knowing the
weights (Houlsby et al. 2011), and grows for cases unlike those that were trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from client.predicting.model import TrainedModel, loaded
from client.trainer import seed_dropout
from common.models import SequenceModel
from common.sequences import SequenceBatch

Method = Literal["dropout", "checkpoints", "none"]
PASSES = 20
CHECKPOINTS = 5
SEED = 0


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """How sure a model is of one case.

    Attributes:
        method: What the versions are.
        versions: How many.
        entropy: Predictive entropy in nats; ``log(classes)`` is the most.
        information: Mutual information in nats; None with one version.
    """

    method: Method
    versions: int
    entropy: float
    information: float | None

    def to_json(self) -> dict[str, Any]:
        """As it is written."""
        return {
            "method": self.method,
            "versions": self.versions,
            "predictive_entropy": self.entropy,
            "mutual_information": self.information,
        }


class Versions:
    """Several versions of a model.

    Args:
        model: The model.

    Raises:
        ModelUnsuitable, WeightsDamaged: A checkpoint of its run cannot be used.
    """

    def __init__(self, model: TrainedModel) -> None:
        self._network, self._earlier = model.network, list[SequenceModel]()
        self.method: Method = "dropout" if has_dropout(model.network) else "none"
        if self.method == "none" and len(model.checkpoints) > 1:
            self.method = "checkpoints"
            self._earlier = [loaded(model, path) for path in model.checkpoints[-CHECKPOINTS:]]

    @torch.no_grad()
    def outputs(self, batch: SequenceBatch) -> torch.Tensor:
        """(M, B, ...) what each version gives of a batch; the same each time."""
        if self.method == "checkpoints":
            return torch.stack([network(batch.steps, batch.lengths) for network in self._earlier])
        if self.method == "none":
            return torch.stack([self._network(batch.steps, batch.lengths)])
        seed_dropout(SEED, batch.device)
        with dropout_on(self._network):
            return torch.stack([self._network(batch.steps, batch.lengths) for _ in range(PASSES)])


def has_dropout(network: nn.Module) -> bool:
    """Whether any layer drops anything."""
    return any(_drops(module) for module in network.modules())


@contextmanager
def dropout_on(network: nn.Module) -> Iterator[None]:
    """The block in which the network drops at random, and is in eval mode otherwise."""
    dropping = [module for module in network.modules() if _drops(module)]
    try:
        for module in dropping:
            module.training = True
        yield
    finally:
        network.eval()


def uncertainties(probabilities: torch.Tensor, method: Method) -> list[Uncertainty]:
    """For each case, from what the versions say.

    Args:
        probabilities: (M, B, C).
        method: What the M versions are.
    """
    whole = entropy(probabilities.mean(0))
    within = entropy(probabilities).mean(0)
    versions = len(probabilities)
    return [
        Uncertainty(method, versions, float(h), max(0.0, float(h - w)) if versions > 1 else None)
        for h, w in zip(whole, within, strict=True)
    ]


def entropy(probabilities: torch.Tensor) -> torch.Tensor:
    """(...) in nats, of (..., C)."""
    found: torch.Tensor = torch.special.entr(probabilities).sum(-1)
    return found


def _drops(module: nn.Module) -> bool:
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0 and module.num_layers > 1
    return isinstance(module, nn.Dropout) and module.p > 0
