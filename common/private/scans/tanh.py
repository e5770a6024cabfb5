"""tanh by way of the sigmoid: on a CPU, torch's sigmoid is five times as fast as its tanh."""

from __future__ import annotations

import torch

_MINUS_ONE = torch.tensor(-1.0, dtype=torch.float64)  # without dimensions it takes any type and device


def doubled(weight: torch.Tensor, gate: int, gates: int) -> torch.Tensor:
    """A copy of a weight or bias (G * H, ...) with the rows of one gate doubled, so that it yields 2 x."""
    weight = weight.clone()
    weight.chunk(gates)[gate].mul_(2)
    return weight


def tanh_of_half_(twice: torch.Tensor) -> torch.Tensor:
    """tanh(x) in the place of 2 x, as 2 sigmoid(2 x) - 1; exact to a unit in the last place of 1."""
    return torch.add(_MINUS_ONE, twice.sigmoid_(), alpha=2, out=twice)
