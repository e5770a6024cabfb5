"""Recurrent layers without packed sequences, so that they can be exported.

A packed sequence has no counterpart in other runtimes. Here a layer is a scan over however many steps there
are, padding included:

*   Forwards, a step depends on earlier ones only, so padding behind a case changes none of its own steps.
*   Backwards, each case is turned over within its own length (an index into its steps), scanned forwards, and
    turned back.

What comes out behind a case's length is set to zero, as unpacking does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import nn

from client.exporting.scans import Scan, scans_of
from common.models.cells import Stack
from common.models.masks import time_mask


class MaskedRecurrent(nn.Module):
    """Any cell of :mod:`common.models` over padded sequences.

    Args:
        layer: The recurrent module that it is to equal; its weights are copied.

    Raises:
        TaskNotServed: It is another kind of layer.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        parts = layer.layers if isinstance(layer, Stack) else [layer]
        every = [directions for part in parts for directions in scans_of(part)]
        self.layers = nn.ModuleList(nn.ModuleList(directions) for directions in every)
        # Only a Stack has anything between its layers.
        self.residual = isinstance(layer, Stack) and layer.residual
        self.norms = nn.ModuleList(
            layer.norms if isinstance(layer, Stack) else (nn.Identity() for _ in every[1:])
        )

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, T, D, ...) and (B,) to (B, T, directions * H, ...), zeros behind each case's length."""
        mask = _beside(time_mask(lengths, x.shape[1], x.device), x).to(x.dtype)
        turned = _turned(lengths, x.shape[1])
        for number, directions in enumerate(self.layers):
            given = self.norms[number - 1](x) if number else x
            made = _both(cast(nn.ModuleList, directions), given, turned) * mask
            x = x + made if number and self.residual else made
        return x

    @property
    def states(self) -> int:
        """How many vectors the state between two steps has, of one direction."""
        return sum(scan.kinds for scan in self._forward_scans())

    def step(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What one step gives, (B, H), and the next state; of a stack that goes one way.

        Args:
            x: (B, D).
            state: (states, B, H), zeros before the first step.
        """
        after: list[torch.Tensor] = []
        for number, scan in enumerate(self._forward_scans()):
            before = tuple(state[len(after) + kind] for kind in range(scan.kinds))
            given = self.norms[number - 1](x) if number else x
            states = scan.step(before, scan.given_of(given.unsqueeze(1)).squeeze(1))
            x = x + states[0] if number and self.residual else states[0]
            after += states
        return x, torch.stack(after)

    def _forward_scans(self) -> Iterator[Scan]:
        return (cast(Scan, cast(nn.ModuleList, directions)[0]) for directions in self.layers)


def _both(directions: Iterable[nn.Module], x: torch.Tensor, turned: torch.Tensor) -> torch.Tensor:
    """What a layer gives in each of its directions, side by side; behind a case's length it means nothing."""
    outputs = [
        _gathered(direction(_gathered(x, turned)), turned) if number else direction(x)
        for number, direction in enumerate(directions)
    ]
    return torch.cat(outputs, dim=2)


def _turned(lengths: torch.Tensor, steps: int) -> torch.Tensor:
    """(B, steps) int64: where each step comes from when a case is turned over within its own length."""
    place = torch.arange(steps, device=lengths.device)[None, :]
    last = lengths[:, None] - 1
    return torch.where(place <= last, last - place, place)


def _gathered(x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    return x.gather(1, _beside(places, x).expand(-1, -1, *x.shape[2:]))


def _beside(by_step: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """(B, T) as (B, T, 1, ...), with as many dimensions as ``x``."""
    return by_step.reshape(*by_step.shape, *(1,) * (x.dim() - 2))
