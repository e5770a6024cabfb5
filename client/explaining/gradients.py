"""Integrated gradients: how much each input value adds to what a model says.

Sundararajan, Taly and Yan 2017: with baseline x' and input x, value i gets
``(x_i - x'_i) * integral_0^1 dF(x' + a (x - x')) / dx_i da``. All of them together are F(x) - F(x') exactly
(completeness); how far the sum found is from it says how well the integral was approximated.

:mod:`client.explaining.path` says where the path begins and what it runs through.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from client.explaining.evidence import Evidence, differentiable
from client.explaining.path import path_of
from common.models import SequenceModel
from common.models.map_model import MapModel

NODES = (32, 64, 128, 256, 512)
"""Points of the integral; more are taken while the sum is further off than ``TOLERANCE``."""

TOLERANCE = 0.01
CHUNK_VALUES = 2**22
MAPS = 16
"""How many values a model of maps holds at its finest level for each of its input."""


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """What each input value adds.

    Attributes:
        values: (T, F) float32, in nats of log-odds.
        evidence: F(x), log-odds of what is explained.
        baseline: F(x'), those of the baseline.
        nodes: Points of the integral.
    """

    values: torch.Tensor
    evidence: float
    baseline: float
    nodes: int

    @property
    def gap(self) -> float:
        """How far the sum of all values is from F(x) - F(x'), in nats."""
        return float(self.values.sum(dtype=torch.float64)) - (self.evidence - self.baseline)

    @property
    def complete(self) -> bool:
        """Whether the gap is at most a hundredth of what there is to explain, or of one nat."""
        return abs(self.gap) <= TOLERANCE * max(abs(self.evidence - self.baseline), 1.0)


def attributed(network: SequenceModel, steps: torch.Tensor, evidence: Evidence) -> Attribution:
    """Integrated gradients with as many points as completeness asks for, ``NODES[-1]`` at most.

    Args:
        network: In eval mode.
        steps: (T, F) on its device.
        evidence: What is explained.
    """
    for nodes in NODES:
        found = integrated_gradients(network, steps, evidence, nodes)
        if found.complete:
            break
    return found


def integrated_gradients(
    network: SequenceModel, steps: torch.Tensor, evidence: Evidence, nodes: int
) -> Attribution:
    """Integrated gradients with the Gauss-Legendre rule of so many points.

    Args:
        network: In eval mode.
        steps: (T, F) on its device.
        evidence: What is explained.
        nodes: Points of the integral.
    """
    along, share = (values.to(steps.device) for values in rule(nodes, faint=isinstance(network, MapModel)))
    path = path_of(network, steps)
    total = torch.zeros_like(path.end)
    chunk = at_once(network, steps)
    with differentiable(network):
        for first in range(0, nodes, chunk):
            points = path.at(along[first : first + chunk]).requires_grad_(True)
            (slope,) = torch.autograd.grad(path.evidence(points, evidence).sum(), points)
            total += torch.tensordot(share[first : first + chunk], slope, dims=1)
    with torch.no_grad():
        ends = path.evidence(torch.stack([path.end, path.start]), evidence)
    values = path.over_steps(total * (path.end - path.start))
    return Attribution(values.detach().cpu(), float(ends[0]), float(ends[1]), nodes)


def rule(nodes: int, *, faint: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(nodes,) float32 places from 0 to 1, and (nodes,) their weights, by Gauss and Legendre.

    Args:
        nodes: How many.
        faint: Whether they are those of the third root of the way, and so most of them near 0: a U-Net
            normalises each channel of a picture by itself, so while a picture fades in, what it says of it
            changes fastest at the beginning.
    """
    places, weights = np.polynomial.legendre.leggauss(nodes)
    places, weights = (places + 1) / 2, weights / 2
    if faint:
        places, weights = places**3, 3 * places**2 * weights
    return torch.tensor(places, dtype=torch.float32), torch.tensor(weights, dtype=torch.float32)


def at_once(network: SequenceModel, steps: torch.Tensor) -> int:
    """How many variants of a case (T, F) a model is asked about together, so that memory suffices."""
    held = steps.numel() * (MAPS if isinstance(network, MapModel) else 1)
    return max(1, CHUNK_VALUES // max(1, held))
