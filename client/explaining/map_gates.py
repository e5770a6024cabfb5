"""How far the gates of a convolutional cell stand open at each step."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from common.models.cells import ConvGRU, ConvLSTM
from common.models.map_model import MapModel

GATES: Mapping[type[ConvGRU | ConvLSTM], Mapping[str, int]] = {
    ConvGRU: {"reset": 0, "update": 1},
    ConvLSTM: {"input": 0, "forget": 1, "output": 3},
}
"""Where each stands among the parts of a convolution's channels."""


def map_gates(network: MapModel, steps: torch.Tensor) -> dict[str, torch.Tensor]:
    """By name, (T,) mean over the last layer's channels and places, in [0, 1]; of each direction.

    Args:
        network: In eval mode.
        steps: (T, height * width) of one case, on its device.
    """
    cell, found = network.recurrent, dict[str, torch.Tensor]()
    assert isinstance(cell, ConvGRU | ConvLSTM)  # noqa: S101  as the model makes it
    maps: torch.Tensor = network.contracting(steps.reshape(-1, 1, *network.frame))[-1]
    for layer in range(cell.depth):
        ways = []
        for suffix in cell.directions:
            states, gates = _walked(cell, maps, f"_l{layer}{suffix}")
            ways.append(states)
            words = ", backwards" if suffix else ""
            found |= {f"{name}{words}": values.cpu() for name, values in gates.items()}
        maps = torch.cat(ways, dim=1)
    return found


def _walked(
    cell: ConvGRU | ConvLSTM, maps: torch.Tensor, suffix: str
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """(T, hidden, h, w) states of one layer and direction, and (T,) of each gate, in the steps' order."""
    given = cell.get_submodule(f"input{suffix}")(maps)
    hidden = cell.get_submodule(f"hidden{suffix}")
    zero = given.new_zeros(1, cell.hidden, *given.shape[2:])
    states, gates, after = (zero,) * cell.kinds, GATES[type(cell)], []
    opened: dict[str, list[torch.Tensor]] = {name: [] for name in gates}
    order = range(len(maps))
    for step in reversed(order) if suffix.endswith("_reverse") else order:
        product = hidden(states[0])
        parts = (given[step : step + 1] + product).chunk(cell.gates, dim=1)
        for name, place in gates.items():
            opened[name].append(parts[place].sigmoid().mean())
        states = cell.step(given[step : step + 1], product, states)
        after.append(states[0])
    if suffix.endswith("_reverse"):
        after, opened = after[::-1], {name: values[::-1] for name, values in opened.items()}
    return torch.cat(after), {name: torch.stack(values) for name, values in opened.items()}
