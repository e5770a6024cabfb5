"""Linear layers: one outer product for each vector that went in."""

from __future__ import annotations

import torch
from torch import nn

from common.private.tape import OuterProduct


def of_linear(layer: nn.Module, inputs: torch.Tensor, output: torch.Tensor) -> OuterProduct:
    """The use of ``nn.Linear`` on inputs (R, ..., D)."""
    assert isinstance(layer, nn.Linear)  # noqa: S101  by the table of rules
    steps = inputs.detach().unsqueeze(1) if inputs.dim() == 2 else inputs.detach().flatten(1, -2)
    return OuterProduct(layer.weight, layer.bias, steps, output)
