"""Stacks of torch's recurrent layers, with connections between them that torch's own stacks do not have."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import dropout as dropped
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from common.models.masks import all_full


def run(recurrent: nn.RNNBase, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """(B, T, H * directions) what torch's module gives of padded cases, zeros behind each length.

    Args:
        recurrent: With ``batch_first``.
        features: (B, T, D).
        lengths: (B,) int64 on the CPU.
    """
    steps = features.shape[1]
    if all_full(lengths, steps):
        outputs: torch.Tensor = recurrent(features)[0]
        return outputs
    packed = pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(recurrent(packed)[0], batch_first=True, total_length=steps)[0]


class Stack(nn.Module):
    """Layers of a recurrence, one on top of the other, each a module of its own.

    From the second on, layer l gives ``layer(norm(x))``, or ``x + layer(norm(x))`` where the stack is
    residual (He et al. 2016; the norm before the layer: Xiong et al. 2020). The first layer has no such
    connection: its input is of another width. Weights are called ``layers.0.weight_ih_l0``,
    ``layers.1.weight_ih_l0`` ... and ``norms.0.weight`` (Ba et al. 2016), that before the second layer.

    Args:
        kind: Of a layer: ``nn.GRU`` and the like.
        features: D, of what comes in.
        hidden: H.
        layers: At least 2.
        bidirectional: Each layer reads in both directions.
        dropout: Share of what goes into a layer above the first that is dropped in training.
        residual: Add what a layer was given to what it gives.
        layer_norm: Normalise what goes into a layer above the first.

    Attributes:
        features: H times the directions.
    """

    def __init__(
        self,
        kind: Callable[..., nn.RNNBase],
        features: int,
        hidden: int,
        layers: int,
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        residual: bool = False,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        self.features = hidden * (2 if bidirectional else 1)
        self.dropout, self.residual = dropout, residual
        widths = [features, *[self.features] * (layers - 1)]
        self.layers = nn.ModuleList(
            kind(width, hidden, batch_first=True, bidirectional=bidirectional) for width in widths
        )
        norm = nn.LayerNorm if layer_norm else nn.Identity
        self.norms = nn.ModuleList(norm(self.features) for _ in widths[1:])

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, T, D) and (B,) int64 on the CPU to (B, T, features), zeros behind each length."""
        first, *others = self.layers
        x = _run(first, features, lengths)
        for norm, layer in zip(self.norms, others, strict=True):
            given = dropped(norm(x), self.dropout, self.training) if self.dropout else norm(x)
            made = _run(layer, given, lengths)
            x = x + made if self.residual else made
        return x


def _run(layer: nn.Module, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    assert isinstance(layer, nn.RNNBase)  # noqa: S101  the stack's own
    return run(layer, x, lengths)
