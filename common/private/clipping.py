"""From the uses of one pass to the clipped sum: norms of all units first, then each unit's place in the sum.

    sum_u min(1, C / ||g_u||) g_u

Invariants: what is summed of a unit has an L2 norm of at most C, but for the rounding of the sum itself; a
gradient that is not finite is left out whole, so that it neither spoils the others nor has any bound to keep.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import torch
from torch import nn

from common.private.parts import Part, Repeated, Scratch
from common.private.products import parts_of
from common.private.rows import Rows
from common.private.tape import OuterProduct, Use


class Divided(Use, Protocol):
    """A use that knows its parts; of another kind than outer products.

    Attributes:
        inputs: What went in, rows first.
    """

    inputs: torch.Tensor

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


def add_clipped(uses: Sequence[Use], units: Units, clip_norm: float) -> torch.Tensor:
    """(U,) norms before clipping, infinite where not finite; adds the clipped sum to the parameters' ``grad``.

    Args:
        uses: With their gradients.
        units: Whose the rows are.
        clip_norm: C.
    """
    parts = _parts(uses, units)
    norms = _norms(parts)
    finite = norms.isfinite()
    if not finite.all():
        for use in uses:
            _silence(use, units.rows(use.owner).spread(finite))
        parts = _parts(uses, units)
        _norms(parts)
    factors = (clip_norm / norms).clamp(max=1).where(finite, 0)
    while parts:
        part = parts.pop()
        _add(part.parameter, part.weighted_sum(factors))
    return norms.where(finite, torch.inf)


def _parts(uses: Iterable[Use], units: Units) -> list[Part]:
    """One for each parameter."""
    scratch, found = Scratch(), defaultdict[nn.Parameter, list[Part]](list)
    for use in uses:
        if use.gradient is not None:
            scratch.announce(use.gradient)
    for use in uses:
        for part in _of_use(use, units.rows(use.owner), scratch):
            found[part.parameter].append(part)
    return [parts[0] if len(parts) == 1 else Repeated(parts, units.count) for parts in found.values()]


def _of_use(use: Use, rows: Rows, scratch: Scratch) -> Iterator[Part]:
    if isinstance(use, OuterProduct):
        return parts_of(use, rows, scratch)
    return cast(Divided, use).parts(rows, scratch)


def _norms(parts: Iterable[Part]) -> torch.Tensor:
    return torch.stack([part.squared_norms() for part in parts]).sum(dim=0).sqrt()


def _silence(use: Use, kept: torch.Tensor) -> None:
    """Put zeros in the rows that are not ``kept`` (R,); zero times infinity would be no number."""
    divided = cast(Divided, use)
    for name in ("gradient", "inputs"):
        rows: torch.Tensor = getattr(divided, name)
        setattr(divided, name, rows.where(kept.view(-1, *[1] * (rows.dim() - 1)), 0))


def _add(parameter: nn.Parameter, value: torch.Tensor) -> None:
    if parameter.grad is None:
        parameter.grad = value
    else:
        parameter.grad.add_(value)
