"""Who is in a step's batch: each unit by its own coin (Poisson sampling), and some of its cases.

Invariants: whether a unit is drawn does not depend on any other, nor on what it holds; a batch may be empty.
The accountants' amplification by sampling rests on that, and on nobody else knowing the coins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat

import torch
from opacus.data_loader import DPDataLoader
from torch.utils.data import TensorDataset

from common.private.secret import Secret

Uniforms = Callable[[int], torch.Tensor]
"""(count,) float64, independent and uniform."""


def unit_batches(
    units: int, sample_rate: float, steps: int, secret: Secret, *, secure: bool
) -> Iterator[torch.Tensor]:
    """``steps`` batches: (U,) int64, ascending numbers of the units drawn, perhaps none.

    Args:
        units: How many there are, at least 1.
        sample_rate: Probability of each, in (0, 1].
        steps: How many batches.
        secret: Its stream ``sampling`` is used.
        secure: Draw from a cryptographic source instead of by Opacus' loader.
    """
    if secure:
        return _secure_batches(units, sample_rate, steps, secret)
    dataset = TensorDataset(torch.arange(units))
    loader = DPDataLoader(dataset, sample_rate=sample_rate, generator=secret.generator("sampling"))
    loader.collate_fn([dataset[0]])  # it learns what a batch is from the first, which might be empty
    epochs = chain.from_iterable(repeat(loader))
    return (batch[0] for batch in islice(epochs, steps))


def _secure_batches(units: int, sample_rate: float, steps: int, secret: Secret) -> Iterator[torch.Tensor]:
    stream = secret.keystream("sampling")
    for _ in range(steps):
        yield torch.from_numpy(stream.uniforms(units) <= sample_rate).nonzero().squeeze(1)


def uniforms(secret: Secret, purpose: str, *, secure: bool) -> Uniforms:
    """A source of uniform values."""
    if secure:
        stream = secret.keystream(purpose)
        return lambda count: torch.from_numpy(stream.uniforms(count))
    generator = secret.generator(purpose)
    return lambda count: torch.rand(count, generator=generator, dtype=torch.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The cases of some units.

    Attributes:
        cases: (M,) int64, their numbers, the cases of one unit beside each other.
        units: (M,) int64, non-decreasing: place in the list of units of the one that each belongs to.
        sizes: (U,) int64, cases of each unit.
    """

    cases: torch.Tensor
    units: torch.Tensor
    sizes: torch.Tensor


class UnitCases:
    """The cases of each unit.

    Args:
        groups: (N,) int64, unit of each case.
        units: How many units there are; one may have no case.
    """

    def __init__(self, groups: torch.Tensor, units: int) -> None:
        if len(groups) and not 0 <= int(groups.min()) <= int(groups.max()) < units:
            raise ValueError(f"the units of cases are numbers from 0 to {units - 1}")
        self._order = torch.argsort(groups, stable=True)
        self._sizes = torch.bincount(groups, minlength=units)
        self._starts = self._sizes.cumsum(0) - self._sizes

    def drawn(self, units: torch.Tensor, most: int, draw: Uniforms) -> Batch:
        """Cases of the units ((U,) int64): of one with more than ``most``, each subset is as likely."""
        sizes = self._sizes[units]
        owner = torch.repeat_interleave(torch.arange(len(units)), sizes)
        place = torch.arange(len(owner)) - (sizes.cumsum(0) - sizes)[owner]
        cases = self._order[self._starts[units][owner] + place]
        if int(sizes.max() if len(sizes) else 0) > most:
            # Sorted by a random key within each unit, the first ones are a random subset.
            key = torch.argsort(draw(len(owner)))
            shuffled = key[torch.argsort(owner[key], stable=True)]
            kept = shuffled[place < most].sort().values
            cases, owner = cases[kept], owner[kept]
        return Batch(cases, owner, sizes.clamp(max=most))
