"""Between a torch model and weights as named arrays."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from common.weights import Weights


def state_of(model: nn.Module) -> dict[str, NDArray[Any]]:
    """Copies of the model's weights under their torch names, on the CPU."""
    return {name: t.detach().cpu().numpy().copy() for name, t in model.state_dict().items()}


def load_state(model: nn.Module, weights: Weights) -> None:
    """Put ``weights`` into the model; names and shapes must be the model's own."""
    own = model.state_dict()
    with torch.no_grad():
        for name, array in weights.items():
            own[name].copy_(torch.from_numpy(array))
