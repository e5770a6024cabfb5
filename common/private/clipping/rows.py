"""Which unit the rows of a tensor belong to, and how to get from rows to units and back.

A unit (a patient, or a single case) has some records, and a record some rows: one, or its frames. A unit's
gradient is the sum over all its rows, so rows of one unit are laid behind each other like time steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows of ``count`` units.

    Attributes:
        count: U, how many units; one without rows is possible.
        most: K, the most rows that one unit has.
        unit: (R,) int64, unit of each row; None where row u is all of unit u.
        index: (U, K) int64, the rows of each unit, -1 behind its last; None where unit u has the K rows from
            u * K on, so that nothing need be gathered.
    """

    count: int
    most: int
    unit: torch.Tensor | None
    index: torch.Tensor | None

    @staticmethod
    def of(unit: torch.Tensor, count: int, device: torch.device) -> Rows:
        """The rows for work on ``device``.

        Args:
            unit: (R,) int64 on the CPU, at least one row, in any order.
            count: How many units.
            device: Where the rows are.
        """
        if len(unit) == count and torch.equal(unit, torch.arange(count)):
            return Rows(count, 1, None, None)
        sizes = torch.bincount(unit, minlength=count)
        most = int(sizes.max())
        if len(unit) == count * most and torch.equal(unit, torch.arange(len(unit)) // most):
            return Rows(count, most, unit.to(device), None)
        place = torch.arange(most)
        first = sizes.cumsum(0) - sizes
        index = unit.argsort(stable=True)[(first[:, None] + place).clamp_max(len(unit) - 1)]
        index = index.masked_fill(place >= sizes[:, None], -1)
        return Rows(count, most, unit.to(device), index.to(device))

    def folded(self, x: torch.Tensor, low: int, high: int) -> torch.Tensor:
        """(R, ...) to (high - low, K, ...), the rows of units ``low`` up to ``high``, zeros behind the last.

        A view where each unit has as many rows as any other.
        """
        if self.index is None:
            return x[low * self.most : high * self.most].view(high - low, self.most, *x.shape[1:])
        index = self.index[low:high]
        own = x.index_select(0, index.clamp_min(0).flatten()).view(high - low, self.most, *x.shape[1:])
        return own.masked_fill_((index < 0).view(*index.shape, *[1] * (x.dim() - 1)), 0)

    def summed(self, x: torch.Tensor) -> torch.Tensor:
        """(R, ...) to (U, ...), the sum over each unit's rows."""
        if self.unit is None:
            return x
        if self.index is None:
            return x.view(self.count, self.most, *x.shape[1:]).sum(dim=1)
        return x.new_zeros(self.count, *x.shape[1:]).index_add_(0, self.unit, x)

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """(U,) to (R,), each row with its unit's value."""
        return values if self.unit is None else values[self.unit]
