"""Pairs of cases that show the same picture and should not: found by their pixels, not by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from client.cohorts.quality.copies import copies
from client.cohorts.quality.facts import CaseFacts
from client.cohorts.quality.gathered import Gathered
from client.cohorts.quality.hamming import MOST_BITS, pairs_within
from client.cohorts.quality.likeness import ALIKE, likeness

MOST_PAIRS = 1_000_000
KEPT = 200
"""Pairs of each issue that are named one by one; the numbers are of all."""


class Issue(StrEnum):
    """What is wrong with two cases that look the same, the gravest first."""

    two_splits = "two-splits"
    two_patients = "two-patients"
    two_labels = "two-labels"
    repeated = "repeated"  # the very same pixels twice: nothing else is wrong


@dataclass(frozen=True, slots=True)
class LookAlike:
    """Two cases that look the same.

    Attributes:
        first: One of them.
        second: The other.
        same_pixels: They were made from the same source pixels.
        likeness: Correlation of their fine structure; 1 for the same pixels.
        issues: What is wrong with that, at least one.
    """

    first: CaseFacts
    second: CaseFacts
    same_pixels: bool
    likeness: float
    issues: tuple[Issue, ...]


@dataclass(frozen=True, slots=True)
class Extent:
    """How far an issue goes: pairs, those of them that hold the very same pixels, cases and patients."""

    pairs: int
    same_pairs: int
    cases: int
    patients: int


@dataclass(frozen=True, slots=True)
class LookAlikes:
    """All look-alikes of a cohort.

    Attributes:
        extents: Of every issue.
        pairs: At most ``KEPT`` of each issue, the same pixels first, then the most alike.
        complete: There are no more; if not, so many pictures are alike that the search was ended.
    """

    extents: Mapping[Issue, Extent]
    pairs: tuple[LookAlike, ...]
    complete: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """(M, 2) int64 rows of all cases, (M,) bool, (M,) float64."""

    cases: NDArray[np.int64]
    same: NDArray[np.bool_]
    likeness: NDArray[np.float64]


def look_alikes(cases: Sequence[CaseFacts], gathered: Gathered) -> LookAlikes:
    """The pairs of a cohort that look the same and should not.

    Args:
        cases: All cases.
        gathered: Those of them that have pictures.
    """
    exact, all_exact = copies([facts.pixel_digests for facts in cases], MOST_PAIRS)
    near, values, all_near = _near(gathered)
    fresh = ~np.isin(_codes(near, len(cases)), _codes(exact, len(cases)))
    near, values = near[fresh], values[fresh]
    together = _Pairs(
        np.concatenate([exact, near]),
        np.arange(len(exact) + len(near)) < len(exact),
        np.concatenate([np.ones(len(exact)), values]),
    )
    issues = _issues(cases, together)
    extents = {issue: _extent(cases, together, mask) for issue, mask in issues.items()}
    return LookAlikes(extents, _named(cases, together, issues), all_exact and all_near)


def _near(gathered: Gathered) -> tuple[NDArray[np.int64], NDArray[np.float64], bool]:
    """Pairs with near fingerprints and like details, their likeness, and whether these are all."""
    detailed = np.flatnonzero(gathered.details.any(axis=1))  # blank pictures are all alike, and no copies
    pairs, complete = pairs_within(gathered.fingerprints[detailed], MOST_BITS, MOST_PAIRS)
    values = likeness(gathered.details[detailed], pairs)
    alike = values >= ALIKE
    return gathered.places[detailed][pairs[alike]], values[alike], complete


def _issues(cases: Sequence[CaseFacts], pairs: _Pairs) -> dict[Issue, NDArray[np.bool_]]:
    """For every issue, which pairs have it."""
    split = _differ([facts.split or None for facts in cases], pairs.cases)
    patient = _differ([facts.patient for facts in cases], pairs.cases)
    label = _differ([facts.label for facts in cases], pairs.cases)
    return {
        Issue.two_splits: split,
        Issue.two_patients: patient,
        # Two looks at one patient may be labelled differently; the very same pixels may not.
        Issue.two_labels: label & (patient | pairs.same),
        Issue.repeated: pairs.same & ~(split | patient | label),
    }


def _differ(values: Sequence[str | None], pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(M,) bool: both cases have a value, and not the same."""
    numbers = {value: number for number, value in enumerate(sorted({v for v in values if v is not None}))}
    codes = np.array([-1 if value is None else numbers[value] for value in values], dtype=np.int64)
    one, other = codes[pairs[:, 0]], codes[pairs[:, 1]]
    differ: NDArray[np.bool_] = (one >= 0) & (other >= 0) & (one != other)
    return differ


def _extent(cases: Sequence[CaseFacts], pairs: _Pairs, mask: NDArray[np.bool_]) -> Extent:
    places = np.unique(pairs.cases[mask]).tolist()
    patients = {cases[place].patient for place in places}
    return Extent(int(mask.sum()), int((mask & pairs.same).sum()), len(places), len(patients))


def _named(
    cases: Sequence[CaseFacts], pairs: _Pairs, issues: Mapping[Issue, NDArray[np.bool_]]
) -> tuple[LookAlike, ...]:
    order = np.lexsort((-pairs.likeness, ~pairs.same))
    chosen = {int(i) for mask in issues.values() for i in order[mask[order]][:KEPT]}
    return tuple(
        LookAlike(
            cases[pairs.cases[i, 0]],
            cases[pairs.cases[i, 1]],
            bool(pairs.same[i]),
            float(pairs.likeness[i]),
            tuple(issue for issue, mask in issues.items() if mask[i]),
        )
        for i in order.tolist()
        if i in chosen
    )


def _codes(pairs: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = pairs[:, 0] * number + pairs[:, 1]
    return codes
