"""One layer of a recurrence in one direction, as a scan over however many steps there are.

torch unrolls a recurrent layer to the length that it was exported with. A scan is the only loop that both
torch.export and ONNX know, whatever its length. What does not depend on the state is made for all steps at
once; the weights of the rest are closed over.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, cast

import torch
from torch import nn
from torch._higher_order_ops.scan import scan  # no public name yet
from torch.nn.functional import conv2d

from common.errors import TaskNotServed
from common.models.cells import GRUD, ConvGRU, ConvLSTM

States = tuple[torch.Tensor, ...]


class Scan(nn.Module, ABC):
    """A layer in one direction.

    Attributes:
        kinds: How many tensors its state has; the first is what the layer gives.
        hidden: Width of each; of maps their channels.
    """

    kinds: ClassVar[int] = 1
    hidden: int

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, D, ...) to (B, T, hidden, ...)."""
        given = self.given_of(x).transpose(0, 1)
        zero = x.new_zeros(x.shape[0], self.hidden, *x.shape[3:])
        _, outputs = scan(self._shown, tuple(zero.clone() for _ in range(self.kinds)), given, dim=0)
        found: torch.Tensor = outputs.transpose(0, 1)
        return found

    def _shown(self, states: States, given: torch.Tensor) -> tuple[States, torch.Tensor]:
        states = self.step(states, given)
        return states, states[0].clone()  # what goes out may not be what is kept

    @abstractmethod
    def given_of(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, ...) what each step of (B, T, D, ...) gives, whatever the state."""

    @abstractmethod
    def step(self, states: States, given: torch.Tensor) -> States:
        """The next states, from those before and (B, ...) what the step gives."""


class _VectorScan(Scan):
    """As torch documents ``nn.GRU``, ``nn.LSTM`` and ``nn.RNN``; the weights are copied."""

    taken: torch.Tensor
    kept: torch.Tensor
    taken_bias: torch.Tensor
    kept_bias: torch.Tensor

    def __init__(self, layer: nn.RNNBase, suffix: str) -> None:
        super().__init__()
        self.hidden = layer.hidden_size
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        values: list[Any] = [getattr(layer, f"{name}{suffix}", None) for name in names]
        width = len(values[0])
        rest = [torch.zeros(width) if value is None else value.detach().clone() for value in values]
        # Turned here, so that a runtime need not do so at every step.
        self.register_buffer("taken", rest[0].T.contiguous())
        self.register_buffer("kept", rest[1].T.contiguous())
        self.register_buffer("taken_bias", rest[2])
        self.register_buffer("kept_bias", rest[3])

    def given_of(self, x: torch.Tensor) -> torch.Tensor:
        """See the base class."""
        return x @ self.taken + self.taken_bias


class _GRUScan(_VectorScan):
    def step(self, states: States, given: torch.Tensor) -> States:
        (state,) = states
        kept = state @ self.kept + self.kept_bias
        (reset_x, update_x, new_x), (reset_h, update_h, new_h) = given.chunk(3, 1), kept.chunk(3, 1)
        new = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
        return (new + torch.sigmoid(update_x + update_h) * (state - new),)


class _LSTMScan(_VectorScan):
    kinds = 2

    def step(self, states: States, given: torch.Tensor) -> States:
        hidden, cell = states
        taken, forgotten, new, shown = (given + hidden @ self.kept + self.kept_bias).chunk(4, 1)
        cell = torch.sigmoid(forgotten) * cell + torch.sigmoid(taken) * torch.tanh(new)
        return torch.sigmoid(shown) * torch.tanh(cell), cell


class _RNNScan(_VectorScan):
    def __init__(self, layer: nn.RNN, suffix: str) -> None:
        super().__init__(layer, suffix)
        self.squash: Callable[[torch.Tensor], torch.Tensor] = (
            torch.relu if layer.nonlinearity == "relu" else torch.tanh
        )

    def step(self, states: States, given: torch.Tensor) -> States:
        return (self.squash(given + states[0] @ self.kept + self.kept_bias),)


class _MapScan(Scan):
    """As :mod:`common.models.cells.convolutional` documents its cells; the weights are copied."""

    kept: torch.Tensor
    kept_bias: torch.Tensor

    def __init__(self, layer: ConvGRU | ConvLSTM, suffix: str) -> None:
        super().__init__()
        self.hidden, self.margin = layer.hidden, layer.kernel // 2
        self.taken = cast(nn.Conv2d, layer.get_submodule(f"input{suffix}"))
        hidden = cast(nn.Conv2d, layer.get_submodule(f"hidden{suffix}"))
        assert hidden.bias is not None  # noqa: S101  both cells have one
        self.register_buffer("kept", hidden.weight.detach().clone())
        self.register_buffer("kept_bias", hidden.bias.detach().clone())

    def given_of(self, x: torch.Tensor) -> torch.Tensor:
        """See the base class."""
        batch, count = x.shape[:2]
        given: torch.Tensor = self.taken(x.flatten(0, 1))
        return given.reshape(batch, count, *given.shape[1:])

    def _product(self, state: torch.Tensor) -> torch.Tensor:
        return conv2d(state, self.kept, self.kept_bias, padding=self.margin)


class _ConvGRUScan(_MapScan):
    def step(self, states: States, given: torch.Tensor) -> States:
        (state,) = states
        (reset_x, update_x, new_x) = given.chunk(3, 1)
        (reset_h, update_h, new_h) = self._product(state).chunk(3, 1)
        new = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
        return (new + torch.sigmoid(update_x + update_h) * (state - new),)


class _ConvLSTMScan(_MapScan):
    kinds = 2

    def step(self, states: States, given: torch.Tensor) -> States:
        hidden, cell = states
        taken, forgotten, new, shown = (given + self._product(hidden)).chunk(4, 1)
        cell = torch.sigmoid(forgotten) * cell + torch.sigmoid(taken) * torch.tanh(new)
        return torch.sigmoid(shown) * torch.tanh(cell), cell


class _RecordScan(Scan):
    """GRU-D, as :mod:`common.models.cells.gru_d` documents it; the weights are copied."""

    gates: torch.Tensor
    candidate: torch.Tensor

    def __init__(self, layer: GRUD) -> None:
        super().__init__()
        self.hidden = layer.features
        self.input_decay, self.hidden_decay, self.taken = layer.input_decay, layer.hidden_decay, layer.input
        self.register_buffer("gates", layer.gates.weight.detach().T.contiguous())
        self.register_buffer("candidate", layer.candidate.weight.detach().T.contiguous())

    def given_of(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, 4 hidden) how much of the state stays, then reset, update and new, of (B, T, 3 V)."""
        values, flags, gaps = x.chunk(3, dim=2)
        faded = torch.exp(-torch.relu(self.input_decay(gaps))) * self._last(values, flags)
        filled = torch.where(flags > 0, values, faded)
        fading = torch.exp(-torch.relu(self.hidden_decay(gaps)))
        return torch.cat([fading, self.taken(torch.cat([filled, flags], dim=2))], dim=2)

    def _last(self, values: torch.Tensor, flags: torch.Tensor) -> torch.Tensor:
        """(B, T, V) what was measured last; a scan too, for ONNX knows no running maximum."""

        def later(last: torch.Tensor, measured: States) -> tuple[torch.Tensor, torch.Tensor]:
            value, flag = measured
            last = torch.where(flag > 0, value, last)
            return last, last.clone()

        start = values.new_zeros(values.shape[0], values.shape[2])
        measured = tuple(x.transpose(0, 1).contiguous() for x in (values, flags))
        _, found = scan(later, start, measured, dim=0)
        last: torch.Tensor = found.transpose(0, 1)
        return last

    def step(self, states: States, given: torch.Tensor) -> States:
        """See the base class."""
        width = self.hidden
        state = given[:, :width] * states[0]
        taken, new = given[:, width : 3 * width], given[:, 3 * width :]
        reset, update = torch.sigmoid(taken + state @ self.gates).chunk(2, 1)
        new = torch.tanh(new + (reset * state) @ self.candidate)
        return (state + update * (new - state),)


def scans_of(layer: nn.Module) -> list[list[Scan]]:
    """The scans of a recurrent module: of each of its layers, one for each direction.

    Raises:
        TaskNotServed: There is none for it.
    """
    match layer:
        case GRUD():
            return [[_RecordScan(layer)]]
        case ConvGRU() | ConvLSTM():
            maps = _ConvGRUScan if isinstance(layer, ConvGRU) else _ConvLSTMScan
            return [[maps(layer, f"_l{n}{way}") for way in layer.directions] for n in range(layer.depth)]
        case nn.GRU() | nn.LSTM() | nn.RNN() if not layer.proj_size:
            ways = ("", "_reverse") if layer.bidirectional else ("",)
            return [[_vectors(layer, f"_l{n}{way}") for way in ways] for n in range(layer.num_layers)]
    raise TaskNotServed(f"a recurrent layer of kind {type(layer).__name__} cannot be exported yet")


def _vectors(layer: nn.GRU | nn.LSTM | nn.RNN, suffix: str) -> Scan:
    if isinstance(layer, nn.GRU):
        return _GRUScan(layer, suffix)
    return _LSTMScan(layer, suffix) if isinstance(layer, nn.LSTM) else _RNNScan(layer, suffix)
