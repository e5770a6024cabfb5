"""The company that a canary keeps in a step: nobody, or other units, in batches that bring out different
faults.

Alone, noise stands by itself, and an engine that made no noise for an empty batch would show. Among whole
cases, clipping is what keeps the canary down. Among cases of different length, what a packed sequence does
to the order of records shows: a factor that lands on the wrong record lets the canary out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from common.sequences import SequenceBatch

COMPANIONS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """The units of a step.

    Attributes:
        name: For the report.
        units: In the order of the batch.
        canary: Which of them is the canary.
    """

    name: str
    units: tuple[SequenceBatch, ...]
    canary: int

    @property
    def without(self) -> tuple[SequenceBatch, ...]:
        """The same units, the canary without its cases."""
        away = self.units[self.canary].take(torch.zeros(0, dtype=torch.int64))
        return (*self.units[: self.canary], away, *self.units[self.canary + 1 :])


def scenes(canary: SequenceBatch, others: Sequence[SequenceBatch], draw: torch.Generator) -> Iterator[Scene]:
    """Each company in turn.

    Args:
        canary: A unit.
        others: Units of the site, the first few of which keep it company.
        draw: Decides how long the cases in the ragged batches are.
    """
    company = tuple(others[:COMPANIONS])
    yield Scene("alone", (canary,), 0)
    if not company:
        return
    yield Scene("among others", (*company, canary), len(company))
    ragged = tuple(_shortened(unit, draw) for unit in company)
    # A packed sequence is sorted by length. Last and the longest, or first and shorter than most, the
    # canary's place among the sorted records is another than its own.
    yield Scene("last of a ragged batch", (*ragged, canary), len(ragged))
    yield Scene("first of a ragged batch", (_cut(canary, 0.5), *ragged), 0)


def _shortened(unit: SequenceBatch, draw: torch.Generator) -> SequenceBatch:
    return _cut(unit, 0.3 + 0.69 * float(torch.rand((), generator=draw)))


def _cut(unit: SequenceBatch, share: float) -> SequenceBatch:
    """The unit's cases, each with the first ``share`` of its steps, at least one."""
    lengths = (unit.lengths * share).long().clamp_min(1)
    longest = int(lengths.max())
    steps = unit.steps[:, :longest].clone()
    behind = torch.arange(longest)[None, :] >= lengths[:, None]
    steps[behind.to(steps.device)] = 0.0
    return SequenceBatch(steps, lengths, unit.targets)
