"""Tables of measurements as the sites of a federation on this machine.

Two tables: the records (docs/data.md, "Record tables"), and, where those have no labels themselves, one of
labels with a row for each patient. Any other column of the latter can be a variable too, measured once, at
the record's first time. Patients are known by pseudonyms under a key that everybody has: nothing leaves here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from client.cohorts.records import RecordCase, RecordRules, RecordTable, read_records
from client.cohorts.records.layout import SPELLINGS
from client.cohorts.records.measurements import NumberReader
from client.cohorts.sheet import open_sheet, plain
from client.dicom.pseudonyms import KEY_BYTES, Pseudonyms
from client.manifest import SPLITS, Condition, Row
from client.sources.record_file import Record, write_records
from common.errors import CohortUnsuitable, LabelsInvalid, RecordsInvalid
from common.study import Steps, Study

ONE_SITE = "all"
_NAMES = Pseudonyms(bytes(KEY_BYTES))
_PATIENT = (*SPELLINGS["patient"],)
_SEX = ("sex", "gender")


@dataclass(frozen=True, slots=True)
class RecordTables:
    """Tables of records, as a person names them; see ``consilium simulate --help``.

    Attributes:
        records: A row for each value, or one for each case.
        labels: Labels, splits and whatever else is known once of each patient.
        site_from: Column of either table that says at which site a patient is; None for one site.
        ignore: Columns or variables that are not read, such as one that gives the label away.
        missing: What stands for a missing value besides nothing, ``?``, ``NA`` and the like.
    """

    records: Path
    labels: Path | None = None
    site_from: str | None = None
    ignore: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Person:
    """What is known of a patient beside the measurements: texts by column."""

    texts: Mapping[str, str]

    def of(self, *names: str) -> str:
        """What stands in the first of these columns that there is; names are as ``plain`` writes them."""
        return next((text for column, text in self.texts.items() if plain(column) in names), "")


@dataclass(frozen=True, slots=True, eq=False)
class RecordRows:
    """Records as rows of a manifest, whose paths are not yet there.

    Attributes:
        rows: The line of each is the place of its record.
        records: Of all sites.
        variables: Of every record.
    """

    rows: tuple[Row, ...]
    records: tuple[Record, ...]
    variables: tuple[str, ...]

    def written(self, rows: Sequence[Row], folder: Path) -> list[Row]:
        """The rows, dealt to sites by now, with the records of each site in a file of its own."""
        found = []
        for number, site in enumerate(sorted({row.site for row in rows})):
            own, path = [row for row in rows if row.site == site], folder / f"records-{number}.npz"
            write_records(path, self.variables, [self.records[row.line] for row in own])
            found += [replace(row, path=f"{path}#{place}") for place, row in enumerate(own)]
        return found


def read_tables(study: Study, tables: RecordTables, where: Sequence[Condition] = ()) -> RecordRows:
    """The labelled records of the tables, of each variable that the study names.

    Args:
        study: Of a sequence of steps.
        tables: Where they are.
        where: Columns of either table and the value that they must have.

    Raises:
        RecordsInvalid, LabelsInvalid: A table cannot be read, or the two do not fit each other.
        CohortUnsuitable: The study is about pictures, or names a variable that neither table has.
    """
    if not isinstance(study.sequence, Steps):
        raise CohortUnsuitable(
            f"tables hold records of measurements, and the study asks for {study.sequence.kind}",
            hint='Give pictures with --data, or write [sequence] kind = "steps" and its variables.',
        )
    people = _people(tables.labels) if tables.labels else {}
    columns = next((tuple(person.texts) for person in people.values()), ())
    here = [(column, value) for column, value in where if column not in columns]
    people = {
        name: person
        for name, person in people.items()
        if all(person.texts[column] == value for column, value in where if column in columns)
    }
    cases = list(_cases(tables, people, columns, here))
    if tables.labels and any(case.record.label or case.record.split for case in cases):
        raise RecordsInvalid(
            f"{tables.records.name} has labels or splits, and a table of labels is given too"
        )
    return _rows(study, tables, [case for case in cases if not tables.labels or case.person], columns)


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """A record, where it is, and what is known of its patient."""

    site: str
    record: RecordCase
    variables: tuple[str, ...]
    person: Person | None


def _people(path: Path) -> dict[str, Person]:
    """What a table of labels says of each patient, by pseudonym."""
    known = {*_PATIENT, "label", "split"}
    with open_sheet(path, known, LabelsInvalid) as sheet:
        places = [index for index, column in enumerate(sheet.columns) if plain(column) in _PATIENT]
        if len(places) != 1:
            raise LabelsInvalid(f"{sheet.name} has {len(places) or 'no'} columns that could be the patient")
        found: dict[str, Person] = {}
        for line, values in sheet.lines():
            if len(values) != len(sheet.columns):
                raise LabelsInvalid(f"{sheet.name} line {line}: wrong number of values")
            texts = {column: text.strip() for column, text in zip(sheet.columns, values, strict=True)}
            name = _NAMES.patient(values[places[0]])
            if found.setdefault(name, Person(texts)).texts != texts:
                raise LabelsInvalid(f"{sheet.name} line {line}: two rows of a patient differ")
    if not found:
        raise LabelsInvalid(f"{path.name} has no row")
    return found


def _cases(
    tables: RecordTables, people: Mapping[str, Person], columns: Sequence[str], where: list[Condition]
) -> Iterator[_Case]:
    """Every record; of one site, also an empty one for each patient of the table of labels who has none."""
    column = tables.site_from
    if column is not None and column not in columns:
        wanted = {value for name, value in where if name == column}
        for site in _values(tables.records, column):
            if not wanted or wanted == {site}:
                table = _read(tables, [*where, (column, site)])
                yield from (_Case(site, r, table.variables, people.get(r.patient)) for r in table.cases)
        return
    table = _read(tables, where)
    for record in (*table.cases, *_without(table, people)):
        person = people.get(record.patient)
        named = ONE_SITE if column is None or person is None else person.texts[column]
        yield _Case(named, record, table.variables, person)


def _read(tables: RecordTables, where: Sequence[Condition]) -> RecordTable:
    rules = RecordRules(ignore=tables.ignore, missing=tables.missing, where=tuple(where))
    return read_records(tables.records, _NAMES, rules)


def _without(table: RecordTable, people: Mapping[str, Person]) -> Iterator[RecordCase]:
    """A record in which nothing is measured for each patient of whom the table has no row."""
    nothing = np.full((1, len(table.variables)), np.nan, np.float32)
    measured = {case.patient for case in table.cases}
    for patient in people:
        if patient not in measured:
            yield RecordCase(patient, "", np.zeros(1), nothing, None, None)


def _values(path: Path, column: str) -> list[str]:
    """The different texts in a column of the records, sorted."""
    with open_sheet(path, {plain(column)}, RecordsInvalid) as sheet:
        if column not in sheet.columns:
            raise RecordsInvalid(f"neither table has a column {column!r}", hint="Look at --site-from.")
        index = sheet.columns.index(column)
        return sorted({values[index].strip() for _, values in sheet.lines() if len(values) > index} - {""})


def _rows(study: Study, tables: RecordTables, cases: list[_Case], columns: Sequence[str]) -> RecordRows:
    sequence = study.sequence
    assert isinstance(sequence, Steps)  # noqa: S101  as the caller has seen
    known = {name for case in cases for name in case.variables}
    once = [v for v in sequence.names if v not in known and v in columns and v not in tables.ignore]
    variables = tuple(v for v in sequence.names if v in known or v in once)
    if missing := [v for v in sequence.names if v not in variables]:
        raise CohortUnsuitable(f"the tables lack variables that the study names: {', '.join(missing)}")
    labelled = [(case, label) for case in cases if (label := _label(case))]
    if any(_split(case) not in SPLITS for case, _ in labelled):
        raise RecordsInvalid(f"{tables.records.name}: a labelled case has no split: train, val or test")
    if not labelled:
        raise RecordsInvalid(f"{tables.records.name}: no case has a label")
    reader = NumberReader(tables.missing)
    records = tuple(_record(case, variables, once, reader) for case, _ in labelled)
    rows = tuple(_row(case, label, place, tables, known) for place, (case, label) in enumerate(labelled))
    return RecordRows(rows, records, variables)


def _label(case: _Case) -> str:
    return (case.person.of("label") if case.person else case.record.label) or ""


def _split(case: _Case) -> str:
    return ((case.person.of("split") if case.person else case.record.split) or "").lower()


def _record(case: _Case, variables: Sequence[str], once: Sequence[str], reader: NumberReader) -> Record:
    """Times and values of the study's variables; what is known once stands at the first time."""
    times, values = case.record.times, np.full((len(case.record.times), len(variables)), np.nan, np.float32)
    for place, name in enumerate(variables):
        if name in once and case.person is not None:
            values[0, place] = reader.read([case.person.texts[name]]).values[0]
        elif name in case.variables:
            values[:, place] = case.record.values[:, case.variables.index(name)]
    return times, values


def _row(case: _Case, label: str, place: int, tables: RecordTables, known: set[str]) -> Row:
    # Patients are numbered anew at each site of a table that names the site itself.
    patient = f"{case.site}/{case.record.patient}"
    person = case.person or Person({})
    return Row(
        "",
        case.site,
        patient,
        _split(case),
        label,
        place,
        time=person.of("time"),
        sex=_known_once(case, tables, *_SEX),
        age=_known_once(case, tables, "age"),
        scanner=person.of("scanner"),
    )


def _known_once(case: _Case, tables: RecordTables, *names: str) -> str:
    """What the table of labels says, or else the record's first value; "" where that is missing."""
    reader = NumberReader(tables.missing)
    text = case.person.of(*names) if case.person else ""
    if text:
        return "" if reader.read([text]).missing[0] else text
    for place, variable in enumerate(case.variables):
        if plain(variable) in names and np.isfinite(value := float(case.record.values[0, place])):
            return f"{value:g}"
    return ""
