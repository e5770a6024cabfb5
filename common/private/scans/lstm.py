"""Long short-term memory (Hochreiter and Schmidhuber 1997; Gers et al. 2000), as ``nn.LSTM`` has it.

(i, f, o) = sigmoid(W x + b + W' h + b')        c' = f * c + i * g
g         =    tanh(W x + b + W' h + b')        h' = o * tanh(c')
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from common.private.scans.course import Course
from common.private.scans.recurrence import Gradients, Tensors, Weights


@dataclass(frozen=True, slots=True)
class LSTMCell:
    """The recurrence of ``nn.LSTM``; see :class:`~common.private.scans.recurrence.Cell`."""

    gates: ClassVar[int] = 4
    kinds: ClassVar[int] = 2

    def scan(self, course: Course, x: torch.Tensor, weights: Weights, states: Tensors) -> Tensors:
        """(T, B, 4H): i, f, s and o, where g = 2 s - 1; and (T, B, H): tanh(c').

        tanh(a) = 2 sigmoid(2 a) - 1, so all four gates are one sigmoid of a contiguous block; a tanh of its
        third quarter alone would take longer than that.
        """
        h, c = states
        gates = _projected(x, weights)
        squashed = course.buffer(x, len(x), h.shape[2])
        to_gates = _doubled(weights.hidden).t().contiguous()
        i, f, s, o = gates.chunk(4, dim=2)
        for all_, i_t, f_t, s_t, o_t, before, after, c_before, c_after, tanh in zip(
            course.steps(gates),
            *(course.steps(gate) for gate in (i, f, s, o)),
            course.steps(course.before(h)),
            course.steps(course.after(h)),
            course.steps(course.before(c)),
            course.steps(course.after(c)),
            course.steps(squashed),
            strict=True,
        ):
            all_.addmm_(before, to_gates).sigmoid_()
            torch.mul(f_t, c_before, out=c_after).addcmul_(i_t, s_t, value=2).sub_(i_t)
            torch.tanh(c_after, out=tanh)
            torch.mul(o_t, tanh, out=after)
        return gates, squashed

    def rewind(
        self, course: Course, hidden: torch.Tensor, states: Tensors, kept: Tensors, wanted: Tensors
    ) -> Gradients:
        """The gradients: those of i, f, g are that by c' times a factor known beforehand, o's that by h'."""
        (_, c), (gates, squashed), (by_h, by_c) = states, kept, wanted
        steps, batch, width = squashed.shape
        factors, through = _factors(gates, squashed, course.before(c))
        inner = factors.view(steps, batch, 4, width)[:, :, :3]
        by_c = by_c.clone()
        for block, by_o, gradient, through_t, f_t, before, after in zip(
            reversed(course.steps(inner)),
            reversed(course.steps(factors[:, :, 3 * width :])),
            reversed(course.steps(factors)),
            reversed(course.steps(through)),
            reversed(course.steps(gates[:, :, width : 2 * width])),
            reversed(course.steps(course.before(by_h))),
            reversed(course.steps(course.after(by_h))),
            strict=True,
        ):
            running = by_c[: len(after)]
            running.addcmul_(after, through_t)
            block.mul_(running.unsqueeze(1))
            by_o.mul_(after)
            running.mul_(f_t)
            before.addmm_(gradient, hidden)
        course.blank(factors)
        return Gradients(factors, factors, (by_h[course.start], by_c))


def _projected(x: torch.Tensor, weights: Weights) -> torch.Tensor:
    """(T, B, 4H) what enters the gates besides W' h, doubled for g."""
    steps, batch, features = x.shape
    bias = _doubled(weights.input_bias + weights.hidden_bias)
    rows = torch.addmm(bias, x.view(steps * batch, features), _doubled(weights.input).t())
    return rows.view(steps, batch, len(bias))


def _doubled(weight: torch.Tensor) -> torch.Tensor:
    """A copy of (4H, ...) with the rows of g doubled."""
    weight = weight.clone()
    weight.chunk(4)[2].mul_(2)
    return weight


def _factors(gates: torch.Tensor, squashed: torch.Tensor, before: torch.Tensor) -> Tensors:
    """(T, B, 4H) derivatives by what the gates squash, of c' for i, f, g and of h' for o; (T, B, H) dh'/dc'.

    They are g i (1 - i), c f (1 - f), i (1 - g^2), tanh(c') o (1 - o); and o (1 - tanh(c')^2).
    """
    i, _, s, o = gates.chunk(4, dim=2)
    factors = torch.addcmul(gates, gates, gates, value=-1)
    by_i, by_f, by_g, by_o = factors.chunk(4, dim=2)
    g = (2 * s).sub_(1)
    by_i.mul_(g)
    by_f.mul_(before)
    torch.addcmul(i, i, g.square_(), value=-1, out=by_g)
    by_o.mul_(squashed)
    return factors, torch.addcmul(o, o, squashed.square_(), value=-1)
