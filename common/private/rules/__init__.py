"""What each layer puts on the tape, one rule a layer; a layer without a rule cannot be trained privately."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from common.private.diagonal import Diagonal
from common.private.recurrent import GRU, LSTM, RNN
from common.private.rules.convolution import of_convolution
from common.private.rules.embedding import of_embedding
from common.private.rules.linear import of_linear
from common.private.rules.normalisation import of_diagonal, of_group_norm, of_layer_norm
from common.private.tape import Use

Rule = Callable[[nn.Module, torch.Tensor, torch.Tensor], Use]
"""From a layer, its input and its output to the use of its parameters; rows first."""

RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: of_linear,
    nn.Embedding: of_embedding,
    nn.Conv1d: of_convolution,
    nn.Conv2d: of_convolution,
    nn.GroupNorm: of_group_norm,
    nn.LayerNorm: of_layer_norm,
    Diagonal: of_diagonal,
}

RECORDING: tuple[type[nn.Module], ...] = (GRU, LSTM, RNN)
"""Layers that put their uses on the tape themselves."""


def rule_of(layer: nn.Module) -> Rule | None:
    """The rule of a layer's type, or of the type it inherits its ``forward`` from; None if there is none."""
    if "forward" in vars(layer):
        return None
    for kind, rule in RULES.items():
        if isinstance(layer, kind) and type(layer).forward is kind.forward:
            return rule
    return None


def records_itself(layer: nn.Module) -> bool:
    """Whether a layer needs no rule."""
    return "forward" not in vars(layer) and any(
        isinstance(layer, kind) and type(layer).forward is kind.forward for kind in RECORDING
    )
