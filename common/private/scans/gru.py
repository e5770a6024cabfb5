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


@dataclass(frozen=True, slots=True)
class GRUCell:
    """The recurrence of ``nn.GRU``; see :class:`~common.private.scans.recurrence.Cell`."""

    gates: ClassVar[int] = 3
    kinds: ClassVar[int] = 1

    def scan(self, course: Course, x: torch.Tensor, weights: Weights, states: Tensors) -> Tensors:
        """The gates r and z in one block (T, B, 2H), n and m (T, B, H)."""
        (h,) = states
        hidden = h.shape[2]
        two = 2 * hidden
        gates, new = _projected(x, weights, two)
        product = course.buffer(x, len(x), hidden)
        # One contiguous copy, since small products with a transposed matrix are a fifth slower.
        to_gates, to_new = weights.hidden[:two].t().contiguous(), weights.hidden[two:].t().contiguous()
        bias = weights.hidden_bias[two:]
        for rz, r, z, n, m, before, after in zip(
            course.steps(gates),
            course.steps(gates[:, :, :hidden]),
            course.steps(gates[:, :, hidden:]),
            course.steps(new),
            course.steps(product),
            course.steps(course.before(h)),
            course.steps(course.after(h)),
            strict=True,
        ):
            rz.addmm_(before, to_gates).sigmoid_()
            torch.addmm(bias, before, to_new, out=m)
            n.addcmul_(r, m).tanh_()
            torch.lerp(n, before, z, out=after)
        return gates, new, product

    def rewind(
        self, course: Course, hidden: torch.Tensor, states: Tensors, kept: Tensors, wanted: Tensors
    ) -> Gradients:
        """The gradients: each gate's is that by h' times a factor known beforehand, so one product a step."""
        (h,), (gates, new, product), (by_h,) = states, kept, wanted
        steps, batch, width = new.shape
        r, z = gates[:, :, :width], gates[:, :, width:]
        factors = _factors(r, z, new, product, course.before(h))
        blocks = factors.view(steps, batch, 3, width)
        for block, gradient, z_t, before, after in zip(
            reversed(course.steps(blocks)),
            reversed(course.steps(factors)),
            reversed(course.steps(z)),
            reversed(course.steps(course.before(by_h))),
            reversed(course.steps(course.after(by_h))),
            strict=True,
        ):
            block.mul_(after.unsqueeze(1))
            before.addcmul_(after, z_t).addmm_(gradient, hidden)
        by_new = new.mul_(course.after(by_h))
        by_hidden = course.blank(factors)
        by_input = course.blank(torch.cat([factors[:, :, : 2 * width], by_new], dim=2))
        return Gradients(by_input, by_hidden, (by_h[course.start],))


def _projected(x: torch.Tensor, weights: Weights, two: int) -> Tensors:
    """(T, B, 2H) and (T, B, H): what enters the two gates besides W h, and what enters n besides r * m."""
    steps, batch, features = x.shape
    rows = x.view(steps * batch, features)
    bias = weights.input_bias[:two] + weights.hidden_bias[:two]
    gates = torch.addmm(bias, rows, weights.input[:two].t())
    new = torch.addmm(weights.input_bias[two:], rows, weights.input[two:].t())
    return gates.view(steps, batch, two), new.view(steps, batch, two // 2)


def _factors(
    r: torch.Tensor, z: torch.Tensor, new: torch.Tensor, product: torch.Tensor, before: torch.Tensor
) -> torch.Tensor:
    """(T, B, 3H) derivatives of h' by the products with h, for r, z and n; ``new`` becomes that by n's own.

    With a tilde for what is squashed: dh'/dn~ = (1 - z)(1 - n^2);  dh'/dm = r dh'/dn~;
    dh'/dr~ = m r (1 - r) dh'/dn~;  dh'/dz~ = (h - n) z (1 - z).
    """
    width = new.shape[2]
    factors = new.new_empty(*new.shape[:2], 3 * width)
    by_r, by_z, by_m = factors.chunk(3, dim=2)
    torch.sub(before, new, out=by_z)
    by_z.mul_(z).addcmul_(by_z, z, value=-1)
    torch.addcmul(new.new_ones(()), new, new, value=-1, out=new)
    new.addcmul_(new, z, value=-1)
    torch.mul(new, r, out=by_m)
    torch.mul(by_m, product, out=by_r)
    by_r.addcmul_(by_r, r, value=-1)
    return factors
