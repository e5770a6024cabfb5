"""Encoders and recurrent layers without packed sequences, so that they can be exported.

A packed sequence has no counterpart in other runtimes, and torch unrolls a recurrent layer to the length that
it was exported with. Here a layer is a scan over however many steps there are, padding included:

*   Forwards, a step depends on earlier ones only, so padding behind a case changes none of its own steps.
*   Backwards, each case is turned over within its own length (an index into its steps), scanned forwards, and
    turned back.

What comes out behind a case's length is set to zero, as unpacking does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

# No public name yet; a scan is the only loop that both torch.export and ONNX know, whatever its length.
from torch._higher_order_ops.scan import scan

from common.errors import TaskNotServed
from common.models.encoders import FrameEncoder, NoEncoder, RowEncoder
from common.models.masks import time_mask
from common.models.pooling import LastPool

State = tuple[torch.Tensor, ...]


class MaskedRecurrent(nn.Module):
    """A GRU, LSTM or RNN over padded sequences.

    Args:
        layer: The layer that it is to equal; its weights are copied.

    Raises:
        TaskNotServed: It is another kind of layer.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        if not isinstance(layer, nn.GRU | nn.LSTM | nn.RNN) or layer.proj_size:
            raise TaskNotServed(f"a recurrent layer of kind {type(layer).__name__} cannot be exported yet")
        self.layers = nn.ModuleList(
            nn.ModuleList(_scan_of(layer, f"_l{depth}{suffix}") for suffix in _suffixes(layer))
            for depth in range(layer.num_layers)
        )

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, T, D) and (B,) to (B, T, directions * H), zeros behind each case's length."""
        mask = time_mask(lengths, x.shape[1], x.device).unsqueeze(2).to(x.dtype)
        turned = _turned(lengths, x.shape[1])
        for directions in self.layers:
            outputs = []
            for number, direction in enumerate(cast(nn.ModuleList, directions)):
                if number:
                    backwards = direction(_gathered(x, turned))
                    outputs.append(_gathered(backwards, turned))
                else:
                    outputs.append(direction(x))
            x = torch.cat(outputs, dim=2) * mask
        return x


class _Scan(nn.Module, ABC):
    """One layer in one direction, as torch documents ``nn.GRU``, ``nn.LSTM`` and ``nn.RNN``."""

    given: torch.Tensor
    kept: torch.Tensor
    given_bias: torch.Tensor
    kept_bias: torch.Tensor

    def __init__(self, layer: nn.RNNBase, suffix: str) -> None:
        super().__init__()
        self.hidden = layer.hidden_size
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        values: list[Any] = [getattr(layer, f"{name}{suffix}", None) for name in names]
        width = len(values[0])
        rest = [torch.zeros(width) if value is None else value.detach().clone() for value in values]
        # Turned here, so that a runtime need not do so at every step.
        self.register_buffer("given", rest[0].T.contiguous())
        self.register_buffer("kept", rest[1].T.contiguous())
        self.register_buffer("given_bias", rest[2])
        self.register_buffer("kept_bias", rest[3])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, D) to (B, T, H)."""
        given = (x @ self.given + self.given_bias).transpose(0, 1)
        _, outputs = scan(self._step, self._start(x), given, dim=0)
        found: torch.Tensor = outputs.transpose(0, 1)
        return found

    def _start(self, x: torch.Tensor) -> Any:
        return x.new_zeros(x.shape[0], self.hidden)

    @abstractmethod
    def _step(self, state: Any, given: torch.Tensor) -> Any:
        """The next state, and what goes out of it."""


class _GRUScan(_Scan):
    def _step(self, state: torch.Tensor, given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        kept = state @ self.kept + self.kept_bias
        (reset_x, update_x, new_x), (reset_h, update_h, new_h) = given.chunk(3, 1), kept.chunk(3, 1)
        new = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
        state = new + torch.sigmoid(update_x + update_h) * (state - new)
        return state, state.clone()


class _LSTMScan(_Scan):
    def _start(self, x: torch.Tensor) -> Any:
        return x.new_zeros(x.shape[0], self.hidden), x.new_zeros(x.shape[0], self.hidden)

    def _step(self, state: State, given: torch.Tensor) -> tuple[State, torch.Tensor]:
        hidden, cell = state
        taken, forgotten, new, shown = (given + hidden @ self.kept + self.kept_bias).chunk(4, 1)
        cell = torch.sigmoid(forgotten) * cell + torch.sigmoid(taken) * torch.tanh(new)
        hidden = torch.sigmoid(shown) * torch.tanh(cell)
        return (hidden, cell), hidden.clone()


class _RNNScan(_Scan):
    def __init__(self, layer: nn.RNN, suffix: str) -> None:
        super().__init__(layer, suffix)
        self.squash: Callable[[torch.Tensor], torch.Tensor] = (
            torch.relu if layer.nonlinearity == "relu" else torch.tanh
        )

    def _step(self, state: torch.Tensor, given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state = self.squash(given + state @ self.kept + self.kept_bias)
        return state, state.clone()


def _scan_of(layer: nn.RNNBase, suffix: str) -> _Scan:
    if isinstance(layer, nn.GRU):
        return _GRUScan(layer, suffix)
    return _LSTMScan(layer, suffix) if isinstance(layer, nn.LSTM) else _RNNScan(layer, suffix)  # type: ignore[arg-type]


def _suffixes(layer: nn.RNNBase) -> tuple[str, ...]:
    return ("", "_reverse") if layer.bidirectional else ("",)


def _turned(lengths: torch.Tensor, steps: int) -> torch.Tensor:
    """(B, steps) int64: where each step comes from when a case is turned over within its own length."""
    place = torch.arange(steps, device=lengths.device)[None, :]
    last = lengths[:, None] - 1
    return torch.where(place <= last, last - place, place)


def _gathered(x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    return x.gather(1, places.unsqueeze(2).expand(-1, -1, x.shape[2]))


class MaskedRows(nn.Module):
    """:class:`~common.models.encoders.RowEncoder` with a mask at every layer, also where all are full."""

    def __init__(self, encoder: RowEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As the encoder."""
        # Four rows of padding, so that behind the strides more than one row is left: torch.export takes an
        # axis of one row for a constant.
        own, x = self.encoder, nn.functional.pad(steps, (0, 0, 0, 4)).unsqueeze(1)
        for conv, norm in ((own.conv1, own.norm1), (own.conv2, own.norm2), (own.conv3, own.norm3)):
            x = conv(x)
            stride = conv.stride[0]
            lengths = (lengths + (stride - 1)) // stride
            mask = time_mask(lengths, x.shape[2], x.device)[:, None, :, None].to(x.dtype)
            x = torch.relu(norm.masked(x, mask))
        return x.permute(0, 2, 1, 3).flatten(2), lengths


class MaskedFrames(nn.Module):
    """:class:`~common.models.encoders.FrameEncoder` over padding too, whose features are set to zero."""

    def __init__(self, encoder: FrameEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As the encoder."""
        batch, count, _ = steps.shape
        seen = self.encoder.layers(steps.reshape(batch * count, 1, *self.encoder.frame)).flatten(1)
        mask = time_mask(lengths, count, steps.device).unsqueeze(2).to(seen.dtype)
        return seen.reshape(batch, count, self.encoder.features) * mask, lengths


class MaskedLast(nn.Module):
    """:class:`~common.models.pooling.LastPool` without counting the cases, which would fix their number."""

    def __init__(self, pooling: LastPool) -> None:
        super().__init__()
        self.hidden, self.directions = pooling.hidden, pooling.directions

    def forward(self, outputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """As the pooling."""
        last = (mask.sum(dim=1) - 1)[:, None, None].expand(-1, 1, self.hidden)
        forward = outputs[:, :, : self.hidden].gather(1, last).squeeze(1)
        if self.directions == 1:
            return forward
        return torch.cat([forward, outputs[:, 0, self.hidden :]], dim=1)


def masked_encoder(encoder: object) -> nn.Module:
    """An encoder that can be exported.

    Raises:
        TaskNotServed: There is none for it.
    """
    if isinstance(encoder, RowEncoder):
        return MaskedRows(encoder)
    if isinstance(encoder, FrameEncoder):
        return MaskedFrames(encoder)
    if isinstance(encoder, NoEncoder):
        return encoder
    raise TaskNotServed(f"an encoder of kind {type(encoder).__name__} cannot be exported yet")
