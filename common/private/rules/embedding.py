"""Embeddings: each row of the table gets the gradients of the places where it was looked up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from common.private.clipping.parts import Part, Scratch, silenced, squares
from common.private.clipping.rows import Rows


@dataclass(slots=True, eq=False)
class Lookup:
    """A use of a table; see :class:`~common.private.tape.Use`.

    Attributes:
        weight: (V, D) the table.
        padding: Its row that gets no gradient, if there is one.
        inputs: (R, ...) int64 rows of the table.
        output: (R, ..., D).
        gradient: The same.
        owner: See :class:`~common.private.tape.Use`.
    """

    weight: nn.Parameter
    padding: int | None
    inputs: torch.Tensor
    output: torch.Tensor | None
    gradient: torch.Tensor | None = None
    owner: torch.Tensor | None = None

    @property
    def parameters(self) -> tuple[nn.Parameter, ...]:
        """The table."""
        return (self.weight,)

    def parts(self, rows: Rows, scratch: Scratch) -> Iterator[Part]:
        """The one of the table."""
        assert self.gradient is not None  # noqa: S101  asked for only then
        looked_up, table = self.inputs.flatten(), len(self.weight)
        each = self.inputs[0].numel()
        unit = rows.unit if rows.unit is not None else torch.arange(rows.count, device=looked_up.device)
        place = unit.repeat_interleave(each) * table + looked_up
        gradient = self.gradient.to(self.weight.dtype).reshape(len(place), -1)
        if self.padding is not None:
            own = looked_up != self.padding
            place, gradient = place[own], gradient[own]
        places, inverse = torch.unique(place, return_inverse=True)
        sums = gradient.new_zeros(len(places), gradient.shape[1]).index_add_(0, inverse, gradient)
        yield Entries(self.weight, sums, places // table, places % table, rows.count)


@dataclass(slots=True, eq=False)
class Entries:
    """The gradients of all units by a table, without the rows that a unit did not look up.

    Attributes:
        parameter: (V, D) the table.
        sums: (M, D) gradient of one unit by one row.
        unit: (M,) int64.
        entry: (M,) int64, which row of the table.
        count: U.
    """

    parameter: nn.Parameter
    sums: torch.Tensor
    unit: torch.Tensor
    entry: torch.Tensor
    count: int

    def squared_norms(self) -> torch.Tensor:
        """(U,); see :class:`~common.private.clipping.parts.Part`."""
        each = squares(self.sums)
        return each.new_zeros(self.count).index_add_(0, self.unit, each)

    def gradients(self, low: int, high: int) -> torch.Tensor:
        """(high - low, V * D); see :class:`~common.private.clipping.parts.Part`."""
        own = (self.unit >= low) & (self.unit < high)
        dense = self.sums.new_zeros(high - low, *self.parameter.shape)
        dense[self.unit[own] - low, self.entry[own]] = self.sums[own]
        return dense.flatten(1)

    def weighted_sum(self, factors: torch.Tensor) -> torch.Tensor:
        """See :class:`~common.private.clipping.parts.Part`."""
        total = torch.zeros_like(self.parameter)
        return total.index_add_(0, self.entry, self.sums * factors[self.unit, None])

    def silence(self, kept: torch.Tensor) -> None:
        """See :class:`~common.private.clipping.parts.Part`."""
        self.sums = silenced(self.sums, kept[self.unit])


def of_embedding(layer: nn.Module, inputs: torch.Tensor, output: torch.Tensor) -> Lookup:
    """The use of ``nn.Embedding`` on inputs (R, ...)."""
    assert isinstance(layer, nn.Embedding)  # noqa: S101  by the table of rules
    return Lookup(cast("nn.Parameter", layer.weight), layer.padding_idx, inputs, output)
