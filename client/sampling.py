"""Who is in a training step: endless batches, as a function of a seed.

All of them are drawn on the CPU, so that they are the same on every device.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import torch

from common.seeds import derive_seed


def shuffled(cases: int, batch_size: int, order: torch.Generator) -> Iterator[torch.Tensor]:
    """Batches of one shuffled pass over the cases after the other: (B,) int64 each.

    Args:
        cases: How many there are.
        batch_size: The last batch of a pass may be smaller.
        order: Draws the passes.
    """
    while True:
        yield from torch.split(torch.randperm(cases, generator=order), batch_size)


def going_on(cases: int, batch_size: int, seed: int, first: int) -> Iterator[torch.Tensor]:
    """As :func:`shuffled`, from a batch in the middle on.

    Each pass has a seed of its own, so a round finds its place by its number alone: whatever a site did
    before, rounds together go through all cases.

    Args:
        cases: How many there are.
        batch_size: The last batch of a pass may be smaller.
        seed: The same in all rounds.
        first: Batches that earlier rounds have had.
    """
    begun, skipped = divmod(first, -(-cases // batch_size))
    for number in count(begun):
        order = torch.Generator().manual_seed(derive_seed(seed, "pass", number))
        batches = torch.split(torch.randperm(cases, generator=order), batch_size)
        yield from batches[skipped if number == begun else 0 :]


def balanced(
    targets: torch.Tensor, groups: torch.Tensor, batch_size: int, order: torch.Generator
) -> Iterator[torch.Tensor]:
    """Batches in which every class that the site has is as likely as any other: (B,) int64 each.

    Of each case first the class is drawn, then one of the patients who have a case of it, then one of these.
    A patient with many pictures is therefore no likelier than one with a single one.

    Args:
        targets: (N,) int64 classes; or (N, C) of 0 and 1, where a case with no label is a class besides.
        groups: (N,) int64, number of the patient of each case.
        batch_size: Of all of them, and at most N.
        order: Draws them.
    """
    strata = _Strata(targets.cpu(), groups)
    size = min(batch_size, len(groups))
    while True:
        yield strata.at(torch.rand(3, size, generator=order))


class _Strata:
    """Cases by class and patient, laid one after the other so that three numbers find one."""

    def __init__(self, targets: torch.Tensor, groups: torch.Tensor) -> None:
        classes, cases = _memberships(targets)
        patients = int(groups.max()) + 1
        key, by_key = torch.sort(classes * patients + groups[cases], stable=True)
        self._cases = cases[by_key]
        found, self._counts = torch.unique(key, return_counts=True)  # sorted, as it was
        self._firsts = self._counts.cumsum(0) - self._counts
        _, self._patients = torch.unique(found // patients, return_counts=True)
        self._first_patients = self._patients.cumsum(0) - self._patients

    def at(self, drawn: torch.Tensor) -> torch.Tensor:
        """The cases at (3, B) uniform numbers: of the class, its patient, the patient's case."""
        of_class, of_patient, of_case = drawn
        chosen = _pick(of_class, torch.full((drawn.shape[1],), len(self._patients)))
        patient = self._first_patients[chosen] + _pick(of_patient, self._patients[chosen])
        return self._cases[self._firsts[patient] + _pick(of_case, self._counts[patient])]


def _memberships(targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Classes and cases, pair by pair; a case with several labels is in several."""
    if targets.ndim == 1:
        return targets, torch.arange(len(targets))
    without = (targets.sum(dim=1, keepdim=True) == 0).to(targets.dtype)
    cases, classes = torch.cat([targets, without], dim=1).nonzero(as_tuple=True)
    return classes, cases


def _pick(uniform: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
    """A whole number below ``among`` for each uniform one; rounding must not reach it."""
    return torch.minimum((uniform * among).long(), among - 1)
