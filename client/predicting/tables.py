"""A CSV: a manifest that names pictures or records, or a table of records."""

from __future__ import annotations

import csv
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from client.cohorts.records import RecordRules, read_records
from client.dicom.pseudonyms import KEY_BYTES, Pseudonyms
from client.images import Place, place_of, read_array_row
from client.manifest import COLUMNS, Row, read_manifest
from client.predicting.answer import Refused, attempted
from client.predicting.case import Given
from client.predicting.rasters import case_of, picture_case
from client.predicting.recorded import record_given
from client.predicting.stacks import stack_case, views_case
from client.predicting.truth import Truth
from client.sources.record_file import holds_records, open_records
from client.sources.views import views_of
from common.errors import InputOtherKind
from common.study import Frames, Slices, Steps, Study, Views


def table_cases(path: Path, study: Study, where: Sequence[tuple[str, str]]) -> Iterator[Given | Refused]:
    """The cases of a table: those that a manifest names, or records where the model reads such.

    Raises:
        DataError: The table itself cannot be used.
    """
    if isinstance(study.sequence, Steps) and not _is_manifest(path):
        yield from _records(path, study)
        return
    manifest = read_manifest(path, where)
    rows = sorted(manifest.rows, key=lambda row: row.line)
    if isinstance(study.sequence, Views):
        for own in views_of(rows, study.sequence.case):
            name = _named(own)
            yield attempted(name, lambda own=own, name=name: _views(Truth(manifest.folder, own), name, study))  # type: ignore[misc]
        return
    for row in rows:
        truth = Truth(manifest.folder, (row,))
        yield attempted(row.path, lambda row=row, truth=truth: _row(truth, row.path, study))  # type: ignore[misc]


def file_records(path: Path, name: str, study: Study) -> Iterator[Given | Refused]:
    """Every record of a file of records (:mod:`client.sources.record_file`), named by its place.

    Raises:
        DataError: It cannot be read.
    """
    for index in range(len(open_records(path))):
        own = f"{name}#{index}"
        yield attempted(own, lambda index=index, own=own: _record(Place(path, None, index), own, study))  # type: ignore[misc]


def _is_manifest(path: Path) -> bool:
    """Whether the first line has a manifest's columns."""
    if path.suffix.lower() != ".csv":
        return False
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return set(COLUMNS) <= set(next(csv.reader(stream), []))
    except (OSError, UnicodeDecodeError, csv.Error):
        return False  # the reader of records says what is wrong with it


def _views(truth: Truth, name: str, study: Study) -> Given:
    places = [place_of(truth.folder, row.path) for row in truth.rows]
    return replace(views_case(places, name, study), truth=truth)


def _row(truth: Truth, named: str, study: Study) -> Given:
    return replace(named_case(place_of(truth.folder, named), named, study), truth=truth)


def named_case(place: Place, named: str, study: Study) -> Given:
    """The case at a place that a row of a manifest names.

    Raises:
        DataError: It cannot be read, or is not what the model reads.
    """
    if isinstance(study.sequence, Steps):
        if place.file.suffix.lower() != ".npz":
            raise InputOtherKind("a picture, where the model reads records of measurements")
        return _record(place, named, study)
    if place.array is None and holds_records(place.file):
        raise InputOtherKind(f"a record of measurements, where the model reads {study.sequence.kind}")
    if isinstance(study.sequence, Slices | Frames):
        return stack_case(place, named, study)
    if place.is_array:
        return case_of(read_array_row(place.file, place.array, place.index), named, study)
    return picture_case(place.file, named, study)


def _record(place: Place, name: str, study: Study) -> Given:
    records = open_records(place.file)
    times, values = records.record(place)
    return record_given(name, times, values, records.variables, study)


def _named(views: Sequence[Row]) -> str:
    """The first of them and how many there are beside it: identifiers are not carried along."""
    first, *others = views
    return f"{first.path} and {len(others)} more" if others else first.path


def _records(path: Path, study: Study) -> Iterator[Given | Refused]:
    """Every record of the table, named by its place: identifiers are not carried along."""
    assert isinstance(study.sequence, Steps)  # noqa: S101  the caller asked
    # Labels may stand in the table, and change nothing; of its variables those of the study are read.
    rules = RecordRules(variables=study.sequence.names)
    table = read_records(path, Pseudonyms(secrets.token_bytes(KEY_BYTES)), rules)
    variables = table.variables
    for number, case in enumerate(table.cases, start=1):
        name = f"{path.name} case {number}"
        yield attempted(
            name,
            lambda case=case, name=name: record_given(name, case.times, case.values, variables, study),  # type: ignore[misc]
        )
