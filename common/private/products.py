"""Gradients that are sums of outer products over time: of linear and recurrent layers, and convolutions.

For unit u with L steps, ``gradient_u = sum_l g_l a_l'`` with g_l of O values and a_l of D. Its norm comes from
the gradient itself, or from Gram matrices over the steps; the sum over units from gradients that were kept,
or from one product over all steps, the smaller of its sides first multiplied by the units' factors
("book-keeping": Bu et al. 2022, arXiv 2210.00038).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import nn

from common.private.grams import gram, squared_norms
from common.private.parts import KEEP_BYTES, Kept, Part, Scratch, spans
from common.private.rows import Rows
from common.private.tape import OuterProduct

MOVING = 32
"""Writing a value of a gradient and reading it again costs as much as this many products (CPU, measured)."""

GRAM_BYTES = KEEP_BYTES // 4
"""Gram matrices that are made at one time."""

@dataclass(frozen=True, slots=True)
class Extent:
    """How large a unit's gradient and the way to it are: L, O and D, and how many such products side by side."""

    steps: int
    outputs: int
    inputs: int
    groups: int = 1

    @property
    def values(self) -> int:
        """Of the gradient."""
        return self.groups * self.outputs * self.inputs


class Factors(Protocol):
    """Where the g_l and a_l come from."""

    @property
    def extent(self) -> Extent:
        """Of one unit."""

    def pair(self, low: int, high: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, L, O) and (N, L, D) of units ``low`` up to ``high``, N being groups times units; any strides."""

    def weighted_sum(self, factors: torch.Tensor) -> torch.Tensor:
        """Of all outer products, each times its unit's factor (U,); of as many values as the weight."""


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """The factors of a :class:`~common.private.tape.OuterProduct`.

    Attributes:
        gradient: (R, L, O).
        inputs: (R, L, D).
        rows: Whose they are.
    """

    gradient: torch.Tensor
    inputs: torch.Tensor
    rows: Rows

    @property
    def extent(self) -> Extent:
        """See :class:`Factors`."""
        _, steps, outputs = self.gradient.shape
        return Extent(steps * self.rows.most, outputs, self.inputs.shape[2])

    def pair(self, low: int, high: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Factors`."""
        gradient, inputs = (self.rows.folded(x, low, high).flatten(1, 2) for x in (self.gradient, self.inputs))
        return gradient, inputs

    def weighted_sum(self, factors: torch.Tensor) -> torch.Tensor:
        """(O, D); see :class:`Factors`."""
        narrow = self.inputs.shape[2] <= self.gradient.shape[2]
        small, large = (self.inputs, self.gradient) if narrow else (self.gradient, self.inputs)
        factors = self.rows.spread(factors)[:, None, None]
        if not large.is_contiguous():  # time first in memory
            small, large, factors = (x.transpose(0, 1) for x in (small, large, factors))
        scaled = torch.mul(small, factors, out=small.new_empty(small.shape)).flatten(0, 1)
        plain = large.flatten(0, 1)
        return plain.t() @ scaled if narrow else scaled.t() @ plain


@dataclass(slots=True, eq=False)
class Product:
    """The gradients of all units by one weight.

    Attributes:
        parameter: The weight.
        factors: The gradients by the products with it, and what it was multiplied with.
        count: U.
        scratch: Shared with the other parts.
        sharers: How many parts have the same g_l, in the same memory.
        kept: The gradients of some units each, from the norms to the sum, if they are kept.
    """

    parameter: nn.Parameter
    factors: Factors
    count: int
    scratch: Scratch
    sharers: int = 1
    kept: deque[torch.Tensor] = field(default_factory=deque, init=False)

    def squared_norms(self) -> torch.Tensor:
        """(U,); see :class:`~common.private.parts.Part`."""
        if self.factors.extent.steps == 1:
            left, right = self.factors.pair(0, self.count)
            return self._per_unit(_squares(left.flatten(1)) * _squares(right.flatten(1)))
        method = self._method()
        return self._by_grams() if method == "gram" else self._by_gradients(keep=method == "kept")

    def gradients(self, low: int, high: int) -> torch.Tensor:
        """(high - low, O * D), as (O, D) or turned; see :class:`~common.private.parts.Part`."""
        one, other = self.factors.pair(low, high)
        if self._turned:
            one, other = other, one
        return torch.bmm(one.transpose(1, 2), other).view(high - low, -1)

    def weighted_sum(self, factors: torch.Tensor) -> torch.Tensor:
        """See :class:`~common.private.parts.Part`."""
        if not self.kept:
            return self.factors.weighted_sum(factors).view_as(self.parameter)
        extent, total = self.factors.extent, self.parameter.new_zeros(self.factors.extent.values)
        low = 0
        while self.kept:
            gradients = self.kept.popleft()
            total.addmv_(gradients.t(), factors[low : low + len(gradients)])
            low += len(gradients)
        if self._turned:
            total = total.view(extent.groups, extent.inputs, extent.outputs).transpose(1, 2)
        return total.reshape(self.parameter.shape)

    @property
    def _turned(self) -> bool:
        """Whether gradients are made as (D, O): products with long lines are the faster ones."""
        return self.factors.extent.outputs > self.factors.extent.inputs

    def _method(self) -> Literal["kept", "gram", "streamed"]:
        """The cheapest by the number of products that each takes besides those of the plain gradient."""
        extent = self.factors.extent
        keep = MOVING * extent.values
        by_gram = extent.groups * extent.steps**2 * (extent.outputs / self.sharers + extent.inputs + MOVING / 2)
        size = self.count * extent.values * self.parameter.element_size()
        if keep <= by_gram and self.scratch.keeps(size):
            return "kept"
        return "gram" if by_gram <= keep + extent.values * extent.steps else "streamed"

    def _by_gradients(self, keep: bool) -> torch.Tensor:
        extent, norms = self.factors.extent, []
        moved = extent.values + extent.groups * extent.steps * (extent.outputs + extent.inputs)
        for low, high in spans(self.count, moved * self.parameter.element_size(), self.parameter.device):
            gradients = self.gradients(low, high)
            norms.append(_squares(gradients))
            if keep:
                self.kept.append(gradients)
        return torch.cat(norms)

    def _by_grams(self) -> torch.Tensor:
        extent = self.factors.extent
        size = extent.groups * extent.steps**2 * self.parameter.element_size()
        step = max(1, GRAM_BYTES // size)
        ranges = ((low, min(self.count, low + step)) for low in range(0, self.count, step))
        return torch.cat([self._gram_norms(low, high) for low, high in ranges])

    def _gram_norms(self, low: int, high: int) -> torch.Tensor:
        gradient, inputs = self.factors.pair(low, high)
        left = self.scratch.once(gram, gradient) if self.sharers > 1 else gram(gradient)
        norms, loose = squared_norms(left, gram(inputs), gradient.shape[2] + inputs.shape[2])
        norms, loose = self._per_unit(norms), self._per_unit(loose)
        for unit in loose.nonzero().flatten().tolist():
            norms[unit] = _squares(self.gradients(low + unit, low + unit + 1))[0]
        return norms

    def _per_unit(self, x: torch.Tensor) -> torch.Tensor:
        """(N,) to (U,), the sum over a unit's groups."""
        groups = self.factors.extent.groups
        return x if groups == 1 else x.view(-1, groups).sum(dim=1)


def parts_of(use: OuterProduct, rows: Rows, scratch: Scratch) -> Iterator[Part]:
    """The parts of a use's weight and bias, those that are trained."""
    assert use.gradient is not None  # noqa: S101  asked for only then
    dtype = use.weight.dtype
    inputs = use.inputs.to(dtype)
    gradient = use.gradient.to(dtype).reshape(*inputs.shape[:2], -1)
    if use.weight.requires_grad:
        sharers = scratch.sharers(gradient) if rows.index is None else 1
        yield Product(use.weight, Sequences(gradient, inputs, rows), rows.count, scratch, sharers)
    if use.bias is not None and use.bias.requires_grad:
        yield Kept(use.bias, rows.summed(scratch.once(_over_time, gradient)))


def _over_time(x: torch.Tensor) -> torch.Tensor:
    return x.sum(dim=1)


def _squares(x: torch.Tensor) -> torch.Tensor:
    """(N, P) to (N,)."""
    return torch.linalg.vector_norm(x, dim=1).square()
