"""The plain recurrence (Elman 1990), as ``nn.RNN`` has it: h' = tanh(W x + b + W' h + b'), or with relu."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from common.private.scans.course import Course
from common.private.scans.recurrence import Gradients, Tensors, Weights
from common.private.scans.tanh import tanh_of_half_


@dataclass(frozen=True, slots=True)
class RNNCell:
    """The recurrence of ``nn.RNN``; see :class:`~common.private.scans.recurrence.Cell`.

    Attributes:
        relu: Whether it is relu that squashes, and not tanh.
    """

    gates: ClassVar[int] = 1
    kinds: ClassVar[int] = 1
    relu: bool

    def scan(self, course: Course, x: torch.Tensor, weights: Weights, states: Tensors) -> Tensors:
        """Nothing: the states are enough."""
        (h,) = states
        factor = 1 if self.relu else 2
        bias = factor * (weights.input_bias + weights.hidden_bias)
        projected = torch.addmm(bias, x.flatten(0, 1), factor * weights.input.t())
        projected = projected.view(*x.shape[:2], h.shape[2])
        to_next = (factor * weights.hidden).t().contiguous()
        squash = torch.relu_ if self.relu else tanh_of_half_
        for p, before, after in zip(
            course.steps(projected),
            course.steps(course.before(h)),
            course.steps(course.after(h)),
            strict=True,
        ):
            squash(torch.addmm(p, before, to_next, out=after))
        return ()

    def rewind(
        self, course: Course, hidden: torch.Tensor, states: Tensors, kept: Tensors, wanted: Tensors
    ) -> Gradients:
        """The gradients: that by h' times 1 - h'^2, or times 1 where h' > 0."""
        (h,), (by_h,) = states, wanted
        after = course.after(h)
        factors = (after > 0).to(h.dtype) if self.relu else 1 - after.square()
        for gradient, by_before, by_after in zip(
            reversed(course.steps(factors)),
            reversed(course.steps(course.before(by_h))),
            reversed(course.steps(course.after(by_h))),
            strict=True,
        ):
            by_before.addmm_(gradient.mul_(by_after), hidden)
        course.blank(factors)
        return Gradients(factors, factors, (by_h[course.start],))
