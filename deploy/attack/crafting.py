"""Canaries: units made to leave the clearest trace that a unit of the site's data can leave.

A canary is real cases with another class's label, so that its gradient is large and points where no
patient's does. Its values are enlarged and turned by a pattern of signs of its own, so that two canaries'
gradients have little in common.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from common.sequences import SequenceBatch
from deploy.attack.own_gradient import own_gradient

SCALES = (1.0, 3.0, 10.0)
"""How much values are enlarged; which scale moves a model most depends on where its cells saturate."""


def crafted(cases: SequenceBatch, classes: int, scale: float, draw: torch.Generator) -> SequenceBatch:
    """A canary unit of these cases.

    Args:
        cases: Real ones, at least one.
        classes: Of the study.
        scale: How much their values are enlarged.
        draw: Gives the pattern of signs.
    """
    signs = 2.0 * torch.randint(0, 2, (cases.steps.shape[2],), generator=draw) - 1.0
    steps = cases.steps * (scale * signs.to(cases.device))
    return SequenceBatch(steps, cases.lengths, (cases.targets + 1) % classes)


def clearest(model: nn.Module, candidates: Sequence[SequenceBatch]) -> SequenceBatch:
    """The candidate whose own gradient is the largest at this state of the model, and finite."""
    norms = torch.stack([own_gradient(model, candidate).norm() for candidate in candidates])
    return candidates[int(norms.nan_to_num(0.0, posinf=0.0).argmax())]


def of_unit(cases: SequenceBatch, units: torch.Tensor, unit: int, most: int) -> SequenceBatch:
    """The first ``most`` cases of a unit; ``units`` (N,) int64 says whose each case is."""
    return cases.take((units == unit).nonzero().flatten()[:most])


def direction(gradient: torch.Tensor) -> torch.Tensor:
    """(P,) the gradient at length 1; zeros where it has none, or none that is finite."""
    unit: torch.Tensor = gradient / gradient.norm()
    return unit.nan_to_num(0.0, posinf=0.0, neginf=0.0)
