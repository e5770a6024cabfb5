"""The gradient of one unit by plain autograd, one case at a time: what the private engine is held against.

Nothing of the engine takes part: a case goes through the model alone, in a batch of one that needs no
padding.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from common.sequences import SequenceBatch


def own_gradient(model: nn.Module, cases: SequenceBatch) -> torch.Tensor:
    """(P,) gradient of the mean of the cases' losses by all trainable weights, in the order of the model's.

    Args:
        model: Any that takes steps and lengths.
        cases: All of one unit.
    """
    weights = trainable(model)
    total = torch.zeros(sum(weight.numel() for weight in weights), device=weights[0].device)
    for number in range(len(cases)):
        case = cases.take(torch.tensor([number]))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # dropout, if there is any, drops the same each time
            loss = cross_entropy(model(case.steps, case.lengths), case.targets)
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        total += flat(
            torch.zeros_like(w) if g is None else g for w, g in zip(weights, gradients, strict=True)
        )
    return total / max(1, len(cases))


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The weights that training changes, in the model's order."""
    return [weight for weight in model.parameters() if weight.requires_grad]


def flat(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """(P,) all entries of the tensors, one after another."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])
