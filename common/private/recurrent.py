"""Recurrent layers for private and plain training alike: torch's own, until a tape records.

Invariants: parameters, their names and initialisation are those of ``nn.GRU``, ``nn.LSTM`` and ``nn.RNN``,
and without a tape so is the computation. With one, outputs and gradients are the same but for rounding, and
what is put on the tape stands in the order of the records, however they were packed.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from common.errors import LayerNotPrivate
from common.private.cudnn import Native
from common.private.scans import Cell, Course, GRUCell, LSTMCell, Packing, Recurrence, RNNCell, Weights
from common.private.tape import OuterProduct, Tape, current_tape

Steps: TypeAlias = torch.Tensor | PackedSequence
States: TypeAlias = torch.Tensor | tuple[torch.Tensor, torch.Tensor]


class GRU(nn.GRU):
    """``nn.GRU``, which can be trained privately."""

    def forward(  # type: ignore[override]
        self,
        input: Steps,  # noqa: A002  torch's name for it
        hx: torch.Tensor | None = None,
    ) -> tuple[Steps, torch.Tensor]:
        """As ``nn.GRU``."""
        tape = current_tape()
        if tape is None:
            return super().forward(input, hx)
        outputs, (last,) = _recorded(self, GRUCell(), tape, input, None if hx is None else (hx,))
        return outputs, last


class LSTM(nn.LSTM):
    """``nn.LSTM``, which can be trained privately; without projections.

    Raises:
        LayerNotPrivate: ``proj_size`` is not 0.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.proj_size:
            raise LayerNotPrivate(f"an LSTM with proj_size={self.proj_size} cannot be trained privately")

    def forward(  # type: ignore[override]
        self,
        input: Steps,  # noqa: A002  torch's name for it
        hx: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> tuple[Steps, tuple[torch.Tensor, torch.Tensor]]:
        """As ``nn.LSTM``."""
        tape = current_tape()
        if tape is None:
            return super().forward(input, hx)
        outputs, (hidden, cell) = _recorded(self, LSTMCell(), tape, input, hx)
        return outputs, (hidden, cell)


class RNN(nn.RNN):
    """``nn.RNN``, which can be trained privately."""

    def forward(  # type: ignore[override]
        self,
        input: Steps,  # noqa: A002  torch's name for it
        hx: torch.Tensor | None = None,
    ) -> tuple[Steps, torch.Tensor]:
        """As ``nn.RNN``."""
        tape = current_tape()
        if tape is None:
            return super().forward(input, hx)
        cell = RNNCell(relu=self.nonlinearity == "relu")
        outputs, (last,) = _recorded(self, cell, tape, input, None if hx is None else (hx,))
        return outputs, last


def _recorded(
    layer: nn.RNNBase, cell: Cell, tape: Tape, steps: Steps, start: tuple[torch.Tensor, ...] | None
) -> tuple[Steps, list[torch.Tensor]]:
    """Outputs and last states (layers * directions, B, H) of each kind, with the uses put on the tape."""
    x, packing = _buffer(layer, steps)
    device, dtype = x.device.type, next(layer.parameters()).dtype
    if torch.is_autocast_enabled(device):
        # Products in half precision only where cuDNN makes them; a scan on the CPU would only lose by it.
        dtype = torch.get_autocast_dtype(device) if device == "cuda" else dtype
        x = x.to(dtype)
    scans = layer.num_layers * (2 if layer.bidirectional else 1)
    if start is None:
        start = (x.new_zeros(scans, x.shape[1], layer.hidden_size),) * cell.kinds
    elif packing is not None:
        start = tuple(packing.rows_of(state) for state in start)
    with torch.autocast(device, enabled=False):
        x, last = _stacked(layer, cell, tape, packing, x, tuple(state.to(dtype) for state in start))
    if packing is None:
        return x.transpose(0, 1) if layer.batch_first else x, last
    return packing.pack(x), [packing.records_of(state) for state in last]


def _buffer(layer: nn.RNNBase, steps: Steps) -> tuple[torch.Tensor, Packing | None]:
    """(T, B, D) of any form of input, and how it was packed."""
    if isinstance(steps, PackedSequence):
        return Packing.of(steps)
    if steps.dim() != 3:
        raise ValueError(f"private training needs a batch of sequences (3-D), not {steps.dim()}-D input")
    return steps.transpose(0, 1) if layer.batch_first else steps, None


def _stacked(
    layer: nn.RNNBase,
    cell: Cell,
    tape: Tape,
    packing: Packing | None,
    x: torch.Tensor,
    start: tuple[torch.Tensor, ...],
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """(T, B, directions * H) outputs of the last layer, and every scan's last states."""
    suffixes = ("", "_reverse") if layer.bidirectional else ("",)
    every_last = []
    for depth in range(layer.num_layers):
        if depth and layer.dropout:
            x = nn.functional.dropout(x, layer.dropout, layer.training)
        x = x.contiguous()
        outputs = []
        for number, suffix in enumerate(suffixes, start=depth * len(suffixes)):
            course = Course(packing, reverse=suffix != "")
            own = tuple(state[number] for state in start)
            output, *last = _scanned(layer, cell, tape, course, x, own, f"_l{depth}{suffix}")
            outputs.append(output)
            every_last.append(last)
        x = torch.cat(outputs, dim=2) if layer.bidirectional else outputs[0]
    return x, [torch.stack(kind) for kind in zip(*every_last, strict=True)]


def _scanned(
    layer: nn.RNNBase,
    cell: Cell,
    tape: Tape,
    course: Course,
    x: torch.Tensor,
    start: tuple[torch.Tensor, ...],
    suffix: str,
) -> tuple[torch.Tensor, ...]:
    """(T, B, H) outputs and (B, H) last states of one layer and direction; two uses for the tape."""
    weight, hidden = (getattr(layer, f"weight_{name}{suffix}") for name in ("ih", "hh"))
    biases = [getattr(layer, f"bias_{name}{suffix}") if layer.bias else None for name in ("ih", "hh")]
    weights = Weights(
        *(part.detach().to(x.dtype) for part in (weight, hidden)),
        *(x.new_zeros(len(weight)) if bias is None else bias.detach().to(x.dtype) for bias in biases),
    )
    # Handles: one number in memory, the shape of the product (records first), and nothing but a gradient.
    number = x.new_zeros(())
    handles = [number.expand(x.shape[1], x.shape[0], len(weight)).requires_grad_() for _ in range(2)]
    function = Native if x.is_cuda else Recurrence
    output, previous, *last = function.apply(  # type: ignore[no-untyped-call]
        cell, course, weights, x, *handles, *start
    )
    tape.add(OuterProduct(weight, biases[0], course.records(x.detach()), handles[0]))
    tape.add(OuterProduct(hidden, biases[1], course.records(previous), handles[1]))
    return output, *last
