"""From the uses of one pass to the clipped sum: norms of all units first, then each unit's place in the sum.

    sum_u min(1, C / ||g_u||) g_u

Invariants: what is summed of a unit has an L2 norm of at most C, but for the rounding of the sum itself; a
gradient that is not finite is left out whole, so that it neither spoils the others nor has any bound to keep.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, cast

import torch
from torch import nn

from common.private.clipping.parts import Part, Repeated, Scratch
from common.private.clipping.products import parts_of
from common.private.clipping.rows import Rows
from common.private.tape import OuterProduct, Use


class Divided(Use, Protocol):
    """A use that knows its parts; of another kind than outer products."""

    def parts(self, rows: Rows, scratch: Scratch) -> Iterator[Part]:
        """One part for each parameter that is trained."""


@dataclass(slots=True, eq=False)
class Units:
    """Whose the records are.

    Attributes:
        of_record: (B,) int64 on the CPU, unit of each record.
        count: U.
        device: Where the work is.
    """

    of_record: torch.Tensor
    count: int
    device: torch.device
    known: dict[int | None, Rows] = field(default_factory=dict, init=False)

    def rows(self, owner: torch.Tensor | None) -> Rows:
        """Whose the rows are whose records are ``owner``; found once for all uses of one fold."""
        key = None if owner is None else id(owner)
        if key not in self.known:
            unit = self.of_record if owner is None else self.of_record[owner.cpu()]
            self.known[key] = Rows.of(unit, self.count, self.device)
        return self.known[key]


def add_clipped(uses: list[Use], units: Units, clip_norm: float) -> torch.Tensor:
    """(U,) norms before clipping, infinite where not finite; adds the clipped sum to parameters' ``grad``.

    Args:
        uses: With their gradients; emptied, so that their memory is free as soon as it has been used.
        units: Whose the rows are.
        clip_norm: C.
    """
    parts, squares = [], []
    for part in _parts(uses, units):
        squares.append(part.squared_norms())
        parts.append(part)
    if not parts:
        return torch.zeros(units.count, device=units.device)
    norms = torch.stack(squares).sum(dim=0).sqrt()
    finite = norms.isfinite()
    if not finite.all():
        for part in parts:
            part.silence(finite)
    factors = (clip_norm / norms).clamp(max=1).where(finite, 0)
    while parts:
        part = parts.pop()
        _add(part.parameter, part.weighted_sum(factors))
    return norms.where(finite, torch.inf)


def _parts(uses: list[Use], units: Units) -> Iterator[Part]:
    """One for each parameter."""
    gradients = [use.gradient for use in uses if use.gradient is not None]
    scratch = Scratch.of(gradients)
    del gradients
    times = Counter(parameter for use in uses for parameter in use.parameters)
    repeated = defaultdict[nn.Parameter, list[Part]](list)
    while uses:
        use = uses.pop()
        for part in _of_use(use, units.rows(use.owner), scratch):
            if times[part.parameter] == 1:
                yield part
            else:
                repeated[part.parameter].append(part)
    for several in repeated.values():
        yield Repeated(several, units.count)


def _of_use(use: Use, rows: Rows, scratch: Scratch) -> Iterator[Part]:
    if isinstance(use, OuterProduct):
        return parts_of(use, rows, scratch)
    return cast(Divided, use).parts(rows, scratch)


def _add(parameter: nn.Parameter, value: torch.Tensor) -> None:
    if parameter.grad is None:
        parameter.grad = value
    else:
        parameter.grad.add_(value)
