"""Does an explanation depend on what the model has learnt? If not, it shows the picture, not the model.

Adebayo et al. 2018: weights are replaced by fresh ones, from the head down, and the explanation is made
again. Its rank correlation with the true one should fall. It need not reach 0: integrated gradients are
multiplied by the input, which is the same for both. Where both are 0 nothing is compared: at what was not
measured, or in pictures that come after the one that is explained, any model's attribution is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from client.explaining.evidence import Evidence
from client.explaining.gradients import integrated_gradients
from client.predicting.model import TrainedModel
from common.models import SequenceModel, build_model, initial_weights, load_state, state_of

FRESH_SEED = 7
NODES = 32
BELOW = ("encoder", "contracting", "recurrent")
"""What is no part of a head."""
PASSED = 0.5
"""Where everything is fresh, a rank correlation above this is a warning."""


@dataclass(frozen=True, slots=True)
class Sanity:
    """Rank correlation (Spearman) of |attributions| with those of a model part of whose weights are fresh.

    Attributes:
        correlations: By what is fresh: the head; head and recurrent layers; everything.
    """

    correlations: Mapping[str, float]

    @property
    def passed(self) -> bool:
        """Whether little is left of the explanation when everything is fresh."""
        return self.correlations["everything"] <= PASSED


def sanity_of(model: TrainedModel, steps: torch.Tensor, evidence: Evidence) -> Sanity:
    """How an explanation changes with the weights.

    Args:
        model: The model.
        steps: (T, F) on its device.
        evidence: What is explained.
    """
    true = integrated_gradients(model.network, steps, evidence, NODES).values.abs()
    found = {}
    for words, prefixes in stages(model.network).items():
        fresh = _refreshed(model, prefixes)
        values = integrated_gradients(fresh, steps, evidence, NODES).values.abs()
        counts = (true > 0) | (values > 0)
        found[words] = rank_correlation(true[counts].numpy(), values[counts].numpy())
    return Sanity(found)


def stages(network: SequenceModel) -> dict[str, tuple[str, ...]]:
    """What is replaced, from the head down: beginnings of the weights' names."""
    top = tuple(name for name, _ in network.named_children() if name not in BELOW)
    return {"head": top, "head and recurrent layers": (*top, "recurrent"), "everything": ("",)}


def rank_correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Spearman's rho of two arrays (N,), equal values sharing their mean rank; 0 where one is constant."""
    ranks = [_ranks(values) - (len(values) - 1) / 2 for values in (first, second)]
    size = float(np.linalg.norm(ranks[0]) * np.linalg.norm(ranks[1]))
    return float(ranks[0] @ ranks[1]) / size if size else 0.0


def _ranks(values: NDArray[np.float32]) -> NDArray[np.float64]:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    mean: NDArray[np.float64] = last - (count + 1) / 2
    return mean[place]


def _refreshed(model: TrainedModel, prefixes: tuple[str, ...]) -> SequenceModel:
    fresh, weights = initial_weights(model.study, FRESH_SEED), state_of(model.network)
    taken = {name: fresh[name] for name in weights if name.startswith(prefixes)}
    network = build_model(model.study)
    load_state(network, {**weights, **taken})
    return network.to(model.device).eval()
