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
from common.private.scans.tanh import doubled, tanh_of_half_


@dataclass(frozen=True, slots=True)
class LSTMCell:
    """The recurrence of ``nn.LSTM``; see :class:`~common.private.scans.recurrence.Cell`."""

    gates: ClassVar[int] = 4
    kinds: ClassVar[int] = 2

    def scan(self, course: Course, x: torch.Tensor, weights: Weights, states: Tensors) -> Tensors:
        """(T, B, 4H): i, f, s and o, where g = 2 s - 1; and (T, B, H): tanh(c').

        All four gates are one sigmoid of a contiguous block.
        """
        h, c = states
        gates = _projected(x, weights)
        squashed = course.buffer(x, len(x), h.shape[2])
        to_gates = doubled(weights.hidden, 2, 4).t().contiguous()
        for every, i, f, s, o, tanh, before, after, c_before, c_after in zip(
            course.steps(gates),
            *(course.steps(gate) for gate in gates.chunk(4, dim=2)),
            course.steps(squashed),
            course.steps(course.before(h)),
            course.steps(course.after(h)),
            course.steps(course.before(c)),
            course.steps(course.after(c)),
            strict=True,
        ):
            every.addmm_(before, to_gates).sigmoid_()
            torch.mul(f, c_before, out=c_after).addcmul_(i, s, value=2).sub_(i)
            tanh_of_half_(torch.add(c_after, c_after, out=tanh))
            torch.mul(o, tanh, out=after)
        return gates, squashed

    def rewind(
        self, course: Course, hidden: torch.Tensor, states: Tensors, kept: Tensors, wanted: Tensors
    ) -> Gradients:
        """The gradients: those of i, f, g are that by c' times a factor known beforehand, o's that by h'."""
        (_, c), (gates, squashed), (by_h, by_c) = states, kept, wanted
        steps, batch, width = squashed.shape
        found, by_c = torch.empty_like(gates), by_c.clone()
        inner, by_outer = found.view(steps, batch, 4, width)[:, :, :3], found[:, :, 3 * width :]
        for span in reversed(course.spans(squashed)):
            _factors(gates[span], squashed[span], course.before(c)[span], found[span])
            for block, by_o, gradient, through, f, before, after in zip(
                reversed(course.steps(inner, span)),
                reversed(course.steps(by_outer, span)),
                reversed(course.steps(found, span)),
                reversed(course.steps(squashed, span)),
                reversed(course.steps(gates[:, :, width : 2 * width], span)),
                reversed(course.steps(course.before(by_h), span)),
                reversed(course.steps(course.after(by_h), span)),
                strict=True,
            ):
                running = by_c[: len(after)]
                running.addcmul_(after, through)
                block.mul_(running.unsqueeze(1))
                by_o.mul_(after)
                running.mul_(f)
                before.addmm_(gradient, hidden)
        course.blank(found)
        return Gradients(found, found, (by_h[course.start], by_c))


def _projected(x: torch.Tensor, weights: Weights) -> torch.Tensor:
    """(T, B, 4H) what enters the gates besides W' h, doubled for g."""
    steps, batch, features = x.shape
    bias = doubled(weights.input_bias + weights.hidden_bias, 2, 4)
    rows = torch.addmm(bias, x.view(steps * batch, features), doubled(weights.input, 2, 4).t())
    return rows.view(steps, batch, len(bias))


def _factors(gates: torch.Tensor, squashed: torch.Tensor, before: torch.Tensor, out: torch.Tensor) -> None:
    """Derivatives by what the gates squash, of c' for i, f, g and of h' for o, into ``out``.

    They are g i (1 - i), c f (1 - f), i (1 - g^2), tanh(c') o (1 - o). And ``squashed`` becomes dh'/dc',
    which is o (1 - tanh(c')^2).
    """
    i, _, s, o = gates.chunk(4, dim=2)
    torch.addcmul(gates, gates, gates, value=-1, out=out)
    by_i, by_f, by_g, by_o = out.chunk(4, dim=2)
    g = (2 * s).sub_(1)
    by_i.mul_(g)
    by_f.mul_(before)
    torch.addcmul(i, i, g.square_(), value=-1, out=by_g)
    by_o.mul_(squashed)
    torch.addcmul(o, o, squashed.square_(), value=-1, out=squashed)
