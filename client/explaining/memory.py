"""What goes on inside a recurrent model at each step: attention weights, and how far its gates stand open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from client.explaining.map_gates import map_gates
from common.models import SequenceClassifier, SequenceModel
from common.models.map_model import MapModel
from common.models.pooling import AttentionPool

GATES: Mapping[type[nn.RNNBase], tuple[str, ...]] = {
    nn.GRU: ("reset", "update"),
    nn.LSTM: ("input", "forget", "output"),
}
_LSTM_ROWS = {"input": 0, "forget": 1, "output": 3}


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """The inside of a model along a case's steps, behind its encoder.

    Attributes:
        attention: (T',) share of each step in the verdict; None without attention pooling.
        gates: By name, (T',) mean over the last layer's units, in [0, 1]; of a bidirectional layer of
            each direction, and of a convolutional cell over the places too. Empty for cells without gates. A
            GRU's update gate keeps the old state where it is 1 (torch's form of Cho et al. 2014).
    """

    attention: torch.Tensor | None
    gates: Mapping[str, torch.Tensor]


@torch.no_grad()
def memory_of(network: SequenceModel, steps: torch.Tensor) -> Memory:
    """The inside of a model while it reads one case (T, F) on its device."""
    if isinstance(network, MapModel):
        return Memory(None, map_gates(network, steps))
    lengths = torch.tensor([len(steps)])
    features, lengths = network.encoder(steps[None], lengths)
    outputs = network.states(steps[None], torch.tensor([len(steps)]))[0]
    return Memory(_attention(network, outputs), _gates(network.recurrent, features))


def _attention(network: SequenceModel, outputs: torch.Tensor) -> torch.Tensor | None:
    if not isinstance(network, SequenceClassifier) or not isinstance(network.pooling, AttentionPool):
        return None
    own = torch.ones(outputs.shape[:2], dtype=torch.bool, device=outputs.device)
    return network.pooling.weights(outputs, own)[0].cpu()


def _gates(layer: nn.Module, features: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of the last layer, from features (1, T, D)."""
    kind = next((known for known in GATES if isinstance(layer, known)), None)
    if kind is None or not isinstance(layer, nn.RNNBase):
        return {}
    below, last = _inputs_of_last(layer, features), layer.num_layers - 1
    found = {}
    for suffix, words in (("", ""), ("_reverse", ", backwards")) if layer.bidirectional else (("", ""),):
        course = below.flip(0) if suffix else below
        opened = _opened(layer, kind, course, f"_l{last}{suffix}")
        for name, values in zip(GATES[kind], opened, strict=True):
            found[f"{name}{words}"] = (values.flip(0) if suffix else values).cpu()
    return found


def _inputs_of_last(layer: nn.RNNBase, features: torch.Tensor) -> torch.Tensor:
    """(T, D') what the last layer reads."""
    if layer.num_layers == 1:
        return features[0]
    make: Callable[..., nn.RNNBase] = type(layer)
    below = make(
        input_size=layer.input_size,
        hidden_size=layer.hidden_size,
        num_layers=layer.num_layers - 1,
        batch_first=True,
        bidirectional=layer.bidirectional,
    ).to(features.device)
    own = below.state_dict()
    below.load_state_dict({name: tensor for name, tensor in layer.state_dict().items() if name in own})
    outputs: torch.Tensor = below.eval()(features)[0]
    return outputs[0]


def _opened(
    layer: nn.RNNBase, kind: type[nn.RNNBase], course: torch.Tensor, suffix: str
) -> list[torch.Tensor]:
    """For each gate (T,): the mean over its units, with the states that the cell itself comes to."""
    weights = [getattr(layer, f"{name}{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    state = course.new_zeros(1, layer.hidden_size)
    cell = torch.zeros_like(state)
    seen = []
    for step in course:
        given = step[None] @ weights[0].T + weights[2], state @ weights[1].T + weights[3]
        parts = [part.chunk(4 if kind is nn.LSTM else 3, dim=1) for part in given]
        if kind is nn.LSTM:
            opened = {name: (parts[0][row] + parts[1][row]).sigmoid() for name, row in _LSTM_ROWS.items()}
            cell = opened["forget"] * cell + opened["input"] * (parts[0][2] + parts[1][2]).tanh()
            state = opened["output"] * cell.tanh()
            seen.append([opened[name].mean() for name in GATES[kind]])
        else:
            reset, update = (parts[0][0] + parts[1][0]).sigmoid(), (parts[0][1] + parts[1][1]).sigmoid()
            state = (1 - update) * (parts[0][2] + reset * parts[1][2]).tanh() + update * state
            seen.append([reset.mean(), update.mean()])
    return [torch.stack(gate) for gate in zip(*seen, strict=True)]
