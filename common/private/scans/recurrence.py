"""One layer and direction of a recurrent stack, whose weights get no gradient but whose uses do.

Instead of a gradient for the weights, the backward pass yields those by the gates' pre-activations, of every
step and row: from these, and from what was multiplied, follows the gradient of each single record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch.autograd.function import once_differentiable

from common.private.scans.course import Course

Tensors: TypeAlias = tuple[torch.Tensor, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A layer's weights in one direction, outside the graph; zeros stand for biases it does not have.

    Attributes:
        input: (G * H, D) for G gates.
        hidden: (G * H, H).
        input_bias: (G * H,).
        hidden_bias: (G * H,).
    """

    input: torch.Tensor
    hidden: torch.Tensor
    input_bias: torch.Tensor
    hidden_bias: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Gradients:
    """What a scan back finds; all of it zero on padding.

    Attributes:
        input: (T, B, G * H) by the product of the weights with the input.
        hidden: (T, B, G * H) by the product with the previous states; the same tensor where the two products
            are merely added.
        start: (B, H) by the starting state of each kind.
    """

    input: torch.Tensor
    hidden: torch.Tensor
    start: Tensors


class Cell(Protocol):
    """A recurrence.

    Attributes:
        gates: How many blocks of H rows its weights have.
        kinds: How many kinds of state it has; the first is the output.
    """

    @property
    def gates(self) -> int: ...  # noqa: D102  above

    @property
    def kinds(self) -> int: ...  # noqa: D102  above

    def scan(self, course: Course, x: torch.Tensor, weights: Weights, states: Tensors) -> Tensors:
        """What the scan back needs besides weights and states.

        Args:
            course: The way through time.
            x: (T, B, D), contiguous.
            weights: The layer's.
            states: (T + 1, B, H) of each kind, with the starting ones in place; the others are written.
        """
        ...

    def rewind(
        self, course: Course, hidden: torch.Tensor, states: Tensors, kept: Tensors, wanted: Tensors
    ) -> Gradients:
        """The gradients, from those by the states.

        Args:
            course: The way that the scan went.
            hidden: (G * H, H) weight of the previous states.
            states: As the scan left them.
            kept: As the scan returned it; may be overwritten.
            wanted: Gradients by the states in so far as the loss uses them directly: (T + 1, B, H) by all of
                the first kind, (B, H) by the last one of a further kind. Overwritten.
        """
        ...


class Recurrence(torch.autograd.Function):
    """Outputs and last states, with gradients by inputs, starting states and both products.

    The products' gradients leave as those of two *handles*, inputs that are nowhere read: tensors without
    memory of their own, of the products' shape, whose gradient is asked for.
    """

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
        """Outputs, previous states, last states.

        Args:
            ctx: Autograd's.
            cell: Which recurrence.
            course: The way through time.
            weights: The layer's.
            x: (T, B, D), contiguous.
            by_input: (B, T, G * H) handle of the product with the input, rows being records.
            by_hidden: (B, T, G * H) handle of the product with the previous states.
            start: (B, H) of each kind of state.

        Returns:
            (T, B, H) outputs; (T, B, H) previous states, without gradient; (B, H) last state of each kind.
        """
        states = tuple(course.buffer(state[None], len(x) + 1, state.shape[1]) for state in start)
        for buffer, state in zip(states, start, strict=True):
            buffer[course.start] = state
        kept = cell.scan(course, x, weights, states)
        ctx.cell, ctx.course, ctx.kinds = cell, course, len(states)
        ctx.save_for_backward(weights.input, weights.hidden, *states, *kept)
        previous = course.blanked(course.before(states[0]))
        ctx.mark_non_differentiable(previous)
        last = tuple(buffer[course.end].clone() for buffer in states)
        return course.blanked(course.after(states[0])), previous, *last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_output: torch.Tensor, _: torch.Tensor, *by_last: torch.Tensor) -> Any:
        """Gradients by the arguments of ``forward``."""
        course: Course = ctx.course
        weight, hidden, *tensors = ctx.saved_tensors
        states, kept = tuple(tensors[: ctx.kinds]), tuple(tensors[ctx.kinds :])
        wanted = course.buffer(by_output, len(by_output) + 1, by_output.shape[2])
        course.after(wanted).copy_(by_output)
        wanted[course.start] = 0
        wanted[course.end] += by_last[0]
        found = ctx.cell.rewind(course, hidden, states, kept, (wanted, *by_last[1:]))
        by_x = found.input @ weight if ctx.needs_input_grad[3] else None
        products = (course.records(found.input), course.records(found.hidden))
        return None, None, None, by_x, *products, *found.start
