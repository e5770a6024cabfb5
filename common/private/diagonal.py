"""A scale and a shift for each feature: a linear layer whose matrix is diagonal."""

from __future__ import annotations

import torch
from torch import nn


class Diagonal(nn.Module):
    """``x * weight + bias``, feature by feature; can be trained privately.

    Args:
        features: P, how many there are.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002  torch's name for it
        """(R, ..., P) to the same."""
        return torch.addcmul(self.bias, input, self.weight)
