"""Gradients that are sums of outer products over time: of linear and recurrent layers, and convolutions.

For unit u with L steps, ``gradient_u = sum_l g_l a_l'`` with g_l of O values and a_l of D. Its norm comes
from the gradient itself, or from Gram matrices over the steps; the sum over units from gradients that were
kept, or from one product over all steps, the smaller of its sides first multiplied by the units' factors
("book-keeping": Bu et al. 2022, arXiv 2210.00038).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import torch
from torch import nn

from common.private.clipping.grams import gram, squared_norms
from common.private.clipping.parts import (
    KEEP_BYTES,
    STREAM_BYTES,
    Kept,
    Part,
    Scratch,
    silenced,
    spans,
    squares,
)
from common.private.clipping.rows import Rows
from common.private.tape import OuterProduct

MOVING = 32
"""Writing a value of a gradient and reading it again costs as much as this many products (CPU, measured)."""

GRAM_BYTES = KEEP_BYTES // 4
"""Gram matrices that are made at one time."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How large a unit's gradient and the way to it are.

    Attributes:
        steps: L.
        outputs: O.
        inputs: D.
        groups: How many such sums of products stand side by side, each of its own O and D.
    """

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

    @property
    def made(self) -> int:
        """How many values :meth:`pair` makes for a unit, and does not just view."""

    def pair(self, low: int, high: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, L, O) and (N, L, D) of units ``low`` up to ``high``; N is groups times units."""

    def weighted_sum(self, factors: torch.Tensor) -> torch.Tensor:
        """Of all outer products, each times its unit's factor (U,); of as many values as the weight."""

    def silenced(self, kept: torch.Tensor) -> Factors:
        """The same with zeros for the units that are not ``kept`` (U,)."""


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

    @property
    def made(self) -> int:
        """See :class:`Factors`."""
        return 0 if self.rows.unit is None else self.extent.steps * (self.extent.outputs + self.extent.inputs)

    def pair(self, low: int, high: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Factors`."""
        gradient, inputs = (
            self.rows.folded(x, low, high).flatten(1, 2) for x in (self.gradient, self.inputs)
        )
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

    def silenced(self, kept: torch.Tensor) -> Sequences:
        """See :class:`Factors`."""
        rows = self.rows.spread(kept)
        return replace(self, gradient=silenced(self.gradient, rows), inputs=silenced(self.inputs, rows))


@dataclass(slots=True, eq=False)
class Product:
    """The gradients of all units by one weight.

    Attributes:
        parameter: The weight.
        factors: The gradients by the products with it, and what it was multiplied with; let go of (None) once
            units' gradients are kept.
        count: U.
        scratch: Shared with the other parts.
        sharers: How many parts have the same g_l, in the same memory.
        extent: Of the factors.
        kept: The gradients of some units each, from the norms to the sum, if they are kept.
    """

    parameter: nn.Parameter
    factors: Factors | None
    count: int
    scratch: Scratch
    sharers: int = 1
    extent: Extent = field(init=False)
    kept: deque[torch.Tensor] = field(default_factory=deque, init=False)

    def __post_init__(self) -> None:
        self.extent = self._factors.extent

    def squared_norms(self) -> torch.Tensor:
        """(U,); see :class:`~common.private.clipping.parts.Part`."""
        if self.extent.steps == 1:
            left, right = self._factors.pair(0, self.count)
            return self._per_unit(squares(left.flatten(1)) * squares(right.flatten(1)))
        match self._method():
            case "gram":
                return self._by_grams()
            case "streamed":
                return torch.cat([squares(gradients) for gradients in self._streamed()])
            case "kept":
                return self._kept_norms()

    def gradients(self, low: int, high: int) -> torch.Tensor:
        """(high - low, O * D), as (O, D) or turned; see :class:`~common.private.clipping.parts.Part`."""
        one, other = self._factors.pair(low, high)
        if self._turned:
            one, other = other, one
        return torch.bmm(one.transpose(1, 2), other).view(high - low, -1)

    def weighted_sum(self, factors: torch.Tensor) -> torch.Tensor:
        """See :class:`~common.private.clipping.parts.Part`."""
        if not self.kept:
            return self._factors.weighted_sum(factors).view_as(self.parameter)
        total, low = self.parameter.new_zeros(self.extent.values), 0
        while self.kept:
            gradients = self.kept.popleft()
            total.addmv_(gradients.t(), factors[low : low + len(gradients)])
            low += len(gradients)
        if self._turned:
            total = total.view(self.extent.groups, self.extent.inputs, self.extent.outputs).transpose(1, 2)
        return total.contiguous().view_as(self.parameter)

    def silence(self, kept: torch.Tensor) -> None:
        """See :class:`~common.private.clipping.parts.Part`."""
        if not self.kept:
            self.factors = self._factors.silenced(kept)
            return
        own = torch.split(kept, [len(gradients) for gradients in self.kept])
        self.kept = deque(silenced(*pair) for pair in zip(self.kept, own, strict=True))

    @property
    def _factors(self) -> Factors:
        assert self.factors is not None  # noqa: S101  nothing else is asked for once gradients are kept
        return self.factors

    @property
    def _turned(self) -> bool:
        """Whether gradients are made as (D, O): products with long lines are the faster ones."""
        return self.extent.outputs > self.extent.inputs

    def _method(self) -> Literal["kept", "gram", "streamed"]:
        """The cheapest by the number of products that each takes besides those of the plain gradient."""
        extent = self.extent
        size = self.count * extent.values * self.parameter.element_size()
        cached = size <= STREAM_BYTES.get(self.parameter.device.type, 0)  # reading them again is cheap
        keep = (MOVING // 2 if cached else MOVING) * extent.values
        lengths = extent.outputs / self.sharers + extent.inputs + MOVING / 2
        if self.sharers > 1 and self.scratch.has(gram, self._factors.pair(0, self.count)[0]):
            lengths -= extent.outputs / self.sharers
        by_gram = extent.groups * extent.steps**2 * lengths
        if keep <= by_gram and self.scratch.keeps(size):
            return "kept"
        return "gram" if by_gram <= keep + extent.values * extent.steps else "streamed"

    def _streamed(self) -> Iterator[torch.Tensor]:
        """(n, O * D) the gradients of some units after the other."""
        size = (self.extent.values + self._factors.made) * self.parameter.element_size()
        for low, high in spans(self.count, size, self.parameter.device):
            yield self.gradients(low, high)

    def _kept_norms(self) -> torch.Tensor:
        norms = []
        for gradients in self._streamed():
            norms.append(squares(gradients))
            self.kept.append(gradients)
        self.factors = None
        return torch.cat(norms)

    def _by_grams(self) -> torch.Tensor:
        values = self.extent.groups * self.extent.steps**2 + self._factors.made
        step = max(1, GRAM_BYTES // (values * self.parameter.element_size()))
        ranges = ((low, min(self.count, low + step)) for low in range(0, self.count, step))
        return torch.cat([self._gram_norms(low, high) for low, high in ranges])

    def _gram_norms(self, low: int, high: int) -> torch.Tensor:
        gradient, inputs = self._factors.pair(low, high)
        norms, loose = squared_norms(
            self.scratch.once(gram, gradient), gram(inputs), gradient.shape[2] + inputs.shape[2]
        )
        norms, loose = self._per_unit(norms), self._per_unit(loose)
        for unit in loose.nonzero().flatten().tolist():
            norms[unit] = squares(self.gradients(low + unit, low + unit + 1))[0]
        return norms

    def _per_unit(self, x: torch.Tensor) -> torch.Tensor:
        """(N,) to (U,), the sum over a unit's groups."""
        return x if self.extent.groups == 1 else x.view(-1, self.extent.groups).sum(dim=1)


def parts_of(use: OuterProduct, rows: Rows, scratch: Scratch) -> Iterator[Part]:
    """The parts of a use's weight and bias, those that are trained."""
    assert use.gradient is not None  # noqa: S101  asked for only then
    dtype = use.weight.dtype
    inputs = use.inputs.to(dtype)
    gradient = use.gradient.to(dtype).reshape(*inputs.shape[:2], -1)
    if use.weight.requires_grad:
        sharers = scratch.sharers(gradient) if rows.unit is None else 1
        yield Product(use.weight, Sequences(gradient, inputs, rows), rows.count, scratch, sharers)
    if use.bias is not None and use.bias.requires_grad:
        yield Kept(use.bias, rows.summed(scratch.once(_over_time, gradient)))


def _over_time(x: torch.Tensor) -> torch.Tensor:
    return x.sum(dim=1)
