"""Linear layers: one outer product for each vector that went in."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from common.errors import LayerNotPrivate
from common.private.tape import OuterProduct


def of_linear(layer: nn.Module, inputs: torch.Tensor, output: torch.Tensor) -> OuterProduct:
    """The use of ``nn.Linear`` on inputs (R, ..., D).

    Raises:
        LayerNotPrivate: They are (D,).
    """
    assert isinstance(layer, nn.Linear)  # noqa: S101  by the table of rules
    if inputs.dim() < 2:
        raise LayerNotPrivate("a linear layer got a vector without a dimension of records")
    steps = inputs.detach().unsqueeze(1) if inputs.dim() == 2 else inputs.detach().flatten(1, -2)
    weight, bias = cast("nn.Parameter", layer.weight), cast("nn.Parameter | None", layer.bias)
    return OuterProduct(weight, bias, steps, output)
