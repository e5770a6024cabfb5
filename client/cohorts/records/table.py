"""Tables of measurements as cases: a sequence of times, and at each time the variables that were measured.

Every row is used or left out for one reason, and the counts add up. Nothing is filled in: what was not
measured is NaN. Identifiers become pseudonyms; none is in a :class:`RecordTable`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.cohorts.labels import Label, Labels
from client.cohorts.records.layout import SPELLINGS, RecordRules, layout_of
from client.cohorts.records.measurements import Sequences
from client.cohorts.records.rows import Gathering, LeftOut, Row
from client.cohorts.sheet import MAX_BYTES, Sheet, open_sheet
from client.dicom.pseudonyms import Pseudonyms
from common.errors import RecordsInvalid

CHUNK_ROWS = 2**16


@dataclass(frozen=True, slots=True)
class RecordCounts:
    """What became of the rows; ``rows == used + sum(left_out.values())``.

    Attributes:
        rows: Rows read, blank lines not counted.
        used: Rows that are in a case.
        left_out: The others, by reason.
        repeated: Values that a later one of the same case, time and variable takes the place of.
        missing: By variable: values that the table says are missing.
        unreadable: By variable: values that are no numbers; they are NaN too.
        unlabelled: Cases without a label, whatever the cause.
        conflicts: Of these, cases whose rows contradict each other, or whose patient is in two splits.
    """

    rows: int
    used: int
    left_out: Mapping[LeftOut, int]
    repeated: int
    missing: Mapping[str, int]
    unreadable: Mapping[str, int]
    unlabelled: int
    conflicts: int


@dataclass(frozen=True, slots=True, eq=False)
class RecordCase:
    """One case.

    Attributes:
        patient: Pseudonym.
        case: What tells the patient's cases apart: a pseudonym of what stands in the column ``case``; without
            one, in the wide layout, the number of the patient's row from the second on. Empty otherwise.
        times: (T,) float64 ascending, in the table's unit; hours since the case's first where it has dates.
        values: (T, V) float32; NaN where a variable was not measured.
        label: None if it has none.
        split: train, val, test, or None where the table leaves that to the site.
        line: Where the label stands in the table of labels; None if it is not from there.
    """

    patient: str
    case: str
    times: NDArray[np.float64]
    values: NDArray[np.float32]
    label: str | None
    split: str | None
    line: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RecordTable:
    """The cases of a table, in the order in which they first appear.

    Attributes:
        variables: Names of the V variables, in the order asked for; else sorted in the long layout, and in
            the order of their columns in the wide one.
        cases: At least one.
        counts: What became of the rows.
    """

    variables: tuple[str, ...]
    cases: tuple[RecordCase, ...]
    counts: RecordCounts


def read_records(
    path: Path,
    pseudonyms: Pseudonyms,
    rules: RecordRules | None = None,
    labels: Labels | None = None,
    *,
    limit_bytes: int = MAX_BYTES,
) -> RecordTable:
    """The cases of the record table at ``path``.

    Args:
        path: A CSV file, gzipped or not, in one of the layouts of :mod:`client.cohorts.records.layout`.
        pseudonyms: Of the site.
        rules: How to read it.
        labels: Labels of patients, where the table has none itself.
        limit_bytes: Most bytes that may come out of the file.

    Raises:
        RecordsInvalid: It cannot be read, has no known layout, no row can be used, or a variable is text.
    """
    rules = rules or RecordRules()
    known = {spelling for spellings in SPELLINGS.values() for spelling in spellings}
    with open_sheet(path, known, RecordsInvalid, limit_bytes) as sheet:
        layout = layout_of(sheet, rules)
        if labels is not None and layout.places.keys() & {"label", "split"}:
            raise RecordsInvalid(f"{sheet.name} has labels or splits, and a table of labels is given too")
        gathered = Gathering(layout, rules, decimal_comma=sheet.delimiter == ";")
        for rows in _chunks(sheet):
            gathered.take(rows)
    if not gathered.cases:
        why = ", ".join(f"{count} {reason}" for reason, count in gathered.left_out.items())
        raise RecordsInvalid(f"{path.name} has no row that can be used" + (f": {why}" if why else ""))
    _check_numbers(path.name, gathered)
    return _table(gathered, pseudonyms, labels)


def _chunks(sheet: Sheet) -> Iterator[list[Row]]:
    while chunk := list(islice(sheet.rows, CHUNK_ROWS)):
        yield [row for row in chunk if row]


def _check_numbers(name: str, gathered: Gathering) -> None:
    """Refuses a variable that is mostly text; in the long layout its name is a value, and not told."""
    _, unreadable, measured = gathered.counts()
    for variable, index in gathered.variables.items():
        if unreadable[index] > measured[index]:
            where = f"first met in row {gathered.first_rows[variable]}" if gathered.layout.long else variable
            raise RecordsInvalid(f"{name}: the variable {where} is mostly text; ignore it, or name others")


def _table(gathered: Gathering, pseudonyms: Pseudonyms, labels: Labels | None) -> RecordTable:
    names = list(gathered.variables)
    variables = tuple(sorted(names) if gathered.layout.long and not gathered.rules.variables else names)
    ranks = {name: rank for rank, name in enumerate(variables)}
    columns = np.array([ranks[name] for name in names], dtype=np.int32)
    dated = gathered.time_kind in ("local", "zoned")
    sequences = gathered.measurements.sequences(len(gathered.cases), columns, since_first=dated)
    said, conflicts = _said(gathered)
    cases = tuple(_cases(gathered, sequences, said, pseudonyms, labels))
    missing, unreadable, _ = gathered.counts()
    counts = RecordCounts(
        rows=gathered.rows,
        used=gathered.used,
        left_out=dict(gathered.left_out),
        repeated=sequences.repeated,
        missing=_by_name(gathered, missing),
        unreadable=_by_name(gathered, unreadable),
        unlabelled=sum(case.label is None for case in cases),
        conflicts=conflicts,
    )
    return RecordTable(variables, cases, counts)


def _cases(
    gathered: Gathering,
    sequences: Sequences,
    said: list[Label | None],
    pseudonyms: Pseudonyms,
    labels: Labels | None,
) -> Iterator[RecordCase]:
    patients = {patient: pseudonyms.patient(patient) for patient, _ in gathered.cases}
    for (patient, case), index in gathered.cases.items():
        name = patients[patient]
        label = labels.of(name) if labels is not None else said[index]
        hidden = case and "case" in gathered.layout.places
        yield RecordCase(
            name,
            pseudonyms.text(f"{patient}\0{case}") if hidden else case,
            *sequences.of(index),
            label=(label.value or None) if label else None,
            split=label.split if label else None,
            line=label.line if label and labels is not None else None,
        )


def _said(gathered: Gathering) -> tuple[list[Label | None], int]:
    """What the rows of each case say of it, None where they contradict each other; and how often they do."""
    splits: dict[str, set[str]] = defaultdict(set)
    for (patient, _), index in gathered.cases.items():
        splits[patient].update(split for _, split in gathered.said[index] if split)
    found: list[Label | None] = []
    for (patient, _), index in gathered.cases.items():
        values = {value for value, _ in gathered.said[index] if value}
        if len(values) > 1 or len(splits[patient]) > 1:
            found.append(None)
        else:
            found.append(Label("".join(values), next(iter(splits[patient]), None), 0))
    return found, found.count(None)


def _by_name(gathered: Gathering, counts: NDArray[np.int64]) -> dict[str, int]:
    """Counts of the variables that have any."""
    return {name: int(counts[index]) for name, index in gathered.variables.items() if counts[index]}
