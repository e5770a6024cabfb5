"""The gated recurrent unit (Cho et al. 2014), with the reset gate behind the product, as ``nn.GRU`` has it.

r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)        n = tanh(W_in x + b_in + r * m),  m = W_hn h + b_hn
z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)        h' = (1 - z) * n + z * h
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from common.private.scans.course import Course
from common.private.scans.recurrence import Gradients, Tensors, Weights
from common.private.scans.tanh import doubled, tanh_of_half_


@dataclass(frozen=True, slots=True)
class GRUCell:
    """The recurrence of ``nn.GRU``; see :class:`~common.private.scans.recurrence.Cell`."""

    gates: ClassVar[int] = 3
    kinds: ClassVar[int] = 1

    def scan(self, course: Course, x: torch.Tensor, weights: Weights, states: Tensors) -> Tensors:
        """r, z and 2 m side by side (T, B, 3H); and n (T, B, H)."""
        (h,) = states
        gates, new = _projected(x, weights)
        # A contiguous copy, since small products with a transposed matrix are a fifth slower.
        to_gates = doubled(weights.hidden, 2, 3).t().contiguous()
        for rzm, rz, r, z, m, n, before, after in zip(
            course.steps(gates),
            course.steps(gates[:, :, : 2 * h.shape[2]]),
            *(course.steps(gate) for gate in gates.chunk(3, dim=2)),
            course.steps(new),
            course.steps(course.before(h)),
            course.steps(course.after(h)),
            strict=True,
        ):
            rzm.addmm_(before, to_gates)
            rz.sigmoid_()
            tanh_of_half_(n.addcmul_(r, m))
            torch.sub(before, n, out=after)
            torch.addcmul(n, after, z, out=after)
        return gates, new

    def rewind(
        self, course: Course, hidden: torch.Tensor, states: Tensors, kept: Tensors, wanted: Tensors
    ) -> Gradients:
        """The gradients: each gate's is that by h' times a factor known beforehand, so one product a step."""
        (h,), (gates, new), (by_h,) = states, kept, wanted
        steps, batch, width = new.shape
        by_hidden = torch.empty_like(gates)
        blocks, z = by_hidden.view(steps, batch, 3, width), gates[:, :, width : 2 * width]
        for span in reversed(course.spans(new)):
            _factors(gates[span], new[span], course.before(h)[span], by_hidden[span])
            for block, gradient, z_t, before, after in zip(
                reversed(course.steps(blocks, span)),
                reversed(course.steps(by_hidden, span)),
                reversed(course.steps(z, span)),
                reversed(course.steps(course.before(by_h), span)),
                reversed(course.steps(course.after(by_h), span)),
                strict=True,
            ):
                block.mul_(after.unsqueeze(1))
                before.addcmul_(after, z_t).addmm_(gradient, hidden)
            # The gates are needed no more, and have the place that the gradients by the input need.
            gates[span, :, : 2 * width] = by_hidden[span, :, : 2 * width]
            torch.mul(new[span], course.after(by_h)[span], out=gates[span, :, 2 * width :])
        return Gradients(course.blank(gates), course.blank(by_hidden), (by_h[course.start],))


def _projected(x: torch.Tensor, weights: Weights) -> Tensors:
    """(T, B, 3H) and (T, B, H): r, z and 2 m before W h comes in, and 2 n~ before r * 2 m does."""
    steps, batch, features = x.shape
    rows, two = x.view(steps * batch, features), 2 * weights.hidden.shape[1]
    bias = weights.input_bias[:two] + weights.hidden_bias[:two]
    gates = x.new_empty(steps * batch, len(weights.hidden))
    torch.addmm(bias, rows, weights.input[:two].t(), out=gates[:, :two])
    gates[:, two:] = 2 * weights.hidden_bias[two:]
    new = torch.addmm(2 * weights.input_bias[two:], rows, 2 * weights.input[two:].t())
    return gates.view(steps, batch, len(weights.hidden)), new.view(steps, batch, two // 2)


def _factors(gates: torch.Tensor, new: torch.Tensor, before: torch.Tensor, out: torch.Tensor) -> None:
    """Derivatives of h' by the products with h, for r, z, n, into ``out``; ``new`` becomes that by n's own.

    With a tilde for what is squashed: dh'/dn~ = (1 - z)(1 - n^2);  dh'/dm = r dh'/dn~;
    dh'/dr~ = m r (1 - r) dh'/dn~;  dh'/dz~ = (h - n) z (1 - z).
    """
    r, z, twice_m = gates.chunk(3, dim=2)
    by_r, by_z, by_m = out.chunk(3, dim=2)
    torch.sub(before, new, out=by_z)
    by_z.mul_(z).addcmul_(by_z, z, value=-1)
    torch.addcmul(new.new_ones(()), new, new, value=-1, out=new)
    new.addcmul_(new, z, value=-1)
    torch.mul(new, r, out=by_m)
    torch.mul(by_m, twice_m.mul_(0.5), out=by_r)
    by_r.addcmul_(by_r, r, value=-1)
