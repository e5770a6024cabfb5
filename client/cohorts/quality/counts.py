"""How many cases and patients there are of each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from client.cohorts.quality.facts import CaseFacts

UNKNOWN = "unknown"
UNLABELLED = "without a label"
NO_SPLIT = "no split"


class Dimension(Enum):
    """What cases are counted by."""

    split = "split"
    label = "label"
    modality = "modality"
    scanner = "scanner"
    year = "year"


@dataclass(frozen=True, slots=True)
class Cell:
    """Cases of one kind, and how many patients they are of."""

    name: str
    cases: int
    patients: int


@dataclass(frozen=True, slots=True)
class Counts:
    """A cohort in numbers.

    Attributes:
        cases: All of them.
        patients: All of them.
        by: For each dimension the cells, whose cases add up to all cases; a patient may be in several.
        label_by_split: Cases of each label and split.
        findings: Cases with each finding of the intake; a case may have several, or none.
        cases_a_patient: How many patients have how many cases.
        split_patients: Patients whose cases are in more than one split.
    """

    cases: int
    patients: int
    by: Mapping[Dimension, tuple[Cell, ...]]
    label_by_split: Mapping[tuple[str, str], int]
    findings: tuple[Cell, ...]
    cases_a_patient: Mapping[int, int]
    split_patients: tuple[str, ...]


_KEYS: Mapping[Dimension, Callable[[CaseFacts], str]] = {
    Dimension.split: lambda facts: facts.split or NO_SPLIT,
    Dimension.label: lambda facts: UNLABELLED if facts.label is None else facts.label,
    Dimension.modality: lambda facts: facts.modality or UNKNOWN,
    Dimension.scanner: lambda facts: facts.scanner or UNKNOWN,
    Dimension.year: lambda facts: UNKNOWN if facts.year is None else str(facts.year),
}


def kind_of(facts: CaseFacts, dimension: Dimension) -> str:
    """The name of the cell that a case is counted in."""
    return _KEYS[dimension](facts)


def count(cases: Sequence[CaseFacts]) -> Counts:
    """The numbers of a cohort."""
    by = {d: cells((kind_of(facts, d), facts.patient) for facts in cases) for d in Dimension}
    by[Dimension.year] = tuple(sorted(by[Dimension.year], key=lambda cell: cell.name))
    both = (Dimension.label, Dimension.split)
    splits: dict[str, set[str]] = {}
    for facts in cases:
        if facts.split:
            splits.setdefault(facts.patient, set()).add(facts.split)
    each = Counter(facts.patient for facts in cases)
    return Counts(
        cases=len(cases),
        patients=len(each),
        by=by,
        label_by_split=Counter((kind_of(f, both[0]), kind_of(f, both[1])) for f in cases),
        findings=cells((code, facts.patient) for facts in cases for code in sorted(set(facts.findings))),
        cases_a_patient=dict(sorted(Counter(each.values()).items())),
        split_patients=tuple(sorted(name for name, found in splits.items() if len(found) > 1)),
    )


def cells(pairs: Iterable[tuple[str, str]]) -> tuple[Cell, ...]:
    """One cell for each kind, the largest first.

    Args:
        pairs: Kind and patient of every case.
    """
    cases: Counter[str] = Counter()
    patients: dict[str, set[str]] = {}
    for name, patient in pairs:
        cases[name] += 1
        patients.setdefault(name, set()).add(patient)
    found = (Cell(name, number, len(patients[name])) for name, number in cases.items())
    return tuple(sorted(found, key=lambda cell: (-cell.cases, cell.name)))
