"""The scans by torch's own kernels, for CUDA, where a loop over steps would mostly wait.

The identity trick: the input is projected outside, and the kernel runs on the projection with W_ih = I. Its
gradient by its input is then the one by the gates' pre-activations, for all steps at once. The product with
the previous states has the same gradient where it is merely added (LSTM, RNN); in a GRU the reset gate lies
between, so there the part of n is multiplied by r, which is computed again for all steps in parallel.

Nothing here is bound to a device: on the CPU the kernels are ATen's, and the maths is the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import pad_packed_sequence

from common.private.scans import Cell, Course, GRUCell, LSTMCell, RNNCell, Weights
from common.private.scans.recurrence import Tensors


class Native(torch.autograd.Function):
    """What :class:`~common.private.scans.Recurrence` does, by a kernel of torch."""

    @staticmethod
    def forward(
        ctx: Any,
        cell: Cell,
        course: Course,
        weights: Weights,
        x: torch.Tensor,
        by_input: torch.Tensor,
        by_hidden: torch.Tensor,
        *start: torch.Tensor,
    ) -> Tensors:
        """As ``Recurrence.forward``."""
        projected = nn.functional.linear(x, weights.input, weights.input_bias)
        inputs = (course.turned(projected).detach(), *(state.detach() for state in start))
        with torch.enable_grad():
            for tensor in inputs:
                tensor.requires_grad_()
            outputs, *last = _run(_kernel(cell, weights), course, inputs[0], inputs[1:])
        previous = torch.cat([start[0][None], outputs.detach()[:-1]])
        previous = course.blanked(course.turned(previous))
        ctx.cell, ctx.course = cell, course
        ctx.inner = (inputs, (outputs, *last))
        ctx.save_for_backward(weights.input, weights.hidden, weights.hidden_bias, projected, previous)
        ctx.mark_non_differentiable(previous)
        return course.turned(outputs.detach()), previous, *(state.detach() for state in last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_output: torch.Tensor, _: torch.Tensor, *by_last: torch.Tensor) -> Any:
        """As ``Recurrence.backward``."""
        course: Course = ctx.course
        weight, hidden, bias, projected, previous = ctx.saved_tensors
        inputs, outputs = ctx.inner
        given = (course.turned(by_output), *by_last)
        by_turned, *by_start = torch.autograd.grad(outputs, inputs, given)
        by_input = course.turned(by_turned)
        by_hidden = by_input
        if isinstance(ctx.cell, GRUCell):
            by_hidden = _through_reset(by_input, projected, previous, hidden, bias)
        by_x = by_input @ weight if ctx.needs_input_grad[3] else None
        return None, None, None, by_x, course.records(by_input), course.records(by_hidden), *by_start


def _kernel(cell: Cell, weights: Weights) -> nn.RNNBase:
    """Torch's module of ``cell``, its input weight the identity; nothing in it is drawn or trained."""
    rows, width = weights.hidden.shape
    match cell:
        case GRUCell():
            kernel: nn.RNNBase = nn.GRU(rows, width, device="meta", dtype=weights.hidden.dtype)
        case LSTMCell():
            kernel = nn.LSTM(rows, width, device="meta", dtype=weights.hidden.dtype)
        case RNNCell(relu=relu):
            squash = "relu" if relu else "tanh"
            kernel = nn.RNN(rows, width, nonlinearity=squash, device="meta", dtype=weights.hidden.dtype)
        case _:
            raise TypeError(f"torch has no kernel for {type(cell).__name__}")
    kernel.to_empty(device=weights.hidden.device).requires_grad_(False)
    identity = torch.eye(rows, dtype=weights.hidden.dtype, device=weights.hidden.device)
    values = (identity, weights.hidden, torch.zeros_like(weights.hidden_bias), weights.hidden_bias)
    for parameter, value in zip(kernel.parameters(), values, strict=True):  # in torch's own order
        parameter.copy_(value)
    return kernel


def _run(kernel: nn.RNNBase, course: Course, projected: torch.Tensor, start: Tensors) -> Tensors:
    """(T, B, H) outputs and (B, H) last states, in the graph."""
    states = tuple(state[None] for state in start)
    steps = projected if course.packing is None else course.packing.pack_rows(projected)
    outputs, last = kernel(steps, states if len(states) > 1 else states[0])
    if course.packing is not None:
        outputs = pad_packed_sequence(outputs)[0]
    return outputs, *(state[0] for state in (last if len(states) > 1 else (last,)))


def _through_reset(
    by_input: torch.Tensor,
    projected: torch.Tensor,
    previous: torch.Tensor,
    hidden: torch.Tensor,
    bias: torch.Tensor,
) -> torch.Tensor:
    """(T, B, 3H) gradient by W_hh h, from that by W_ih x: the part of n is multiplied by r."""
    width = previous.shape[2]
    reset = torch.sigmoid(
        projected[..., :width] + nn.functional.linear(previous, hidden[:width], bias[:width])
    )
    by_r, by_z, by_n = by_input.chunk(3, dim=2)
    return torch.cat([by_r, by_z, by_n * reset], dim=2)
