"""A CSV: a manifest that names pictures, or a table of records."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from client.cohorts.records import RecordRules, read_records
from client.dicom.pseudonyms import KEY_BYTES, Pseudonyms
from client.images import place_of, read_array_row
from client.manifest import read_manifest
from client.predicting.answer import Refused
from client.predicting.arrays import array_case
from client.predicting.case import Given
from client.predicting.rasters import case_of, picture_case
from client.records import record_steps
from common.errors import DataError
from common.study import Frames, Slices, Steps, Study


def table_cases(path: Path, study: Study, where: Sequence[tuple[str, str]]) -> Iterator[Given | Refused]:
    """The cases of a table: pictures of a manifest, or records where the model reads such.

    Raises:
        DataError: The table itself cannot be used.
    """
    if isinstance(study.sequence, Steps):
        yield from _records(path, study)
        return
    manifest = read_manifest(path, where)
    for row in sorted(manifest.rows, key=lambda row: row.line):
        try:
            yield _row(manifest.folder, row.path, study)
        except DataError as error:
            yield Refused.of(row.path, error)


def _row(folder: Path, named: str, study: Study) -> Given:
    place = place_of(folder, named)
    if place.index is not None:
        return case_of(read_array_row(place.file, place.array, place.index), named, study)
    if isinstance(study.sequence, Slices | Frames):
        return array_case(folder / named, named, study)
    return picture_case(folder / named, named, study)


def _records(path: Path, study: Study) -> Iterator[Given | Refused]:
    """Every record of the table, named by its place: identifiers are not carried along."""
    assert isinstance(study.sequence, Steps)  # noqa: S101  the caller asked
    # Labels may stand in the table, and change nothing; of its variables those of the study are read.
    rules = RecordRules(variables=study.sequence.names)
    table = read_records(path, Pseudonyms(secrets.token_bytes(KEY_BYTES)), rules)
    for number, case in enumerate(table.cases, start=1):
        name = f"{path.name} case {number}"
        try:
            yield Given(name, record_steps(case.times, case.values, table.variables, study, name))
        except DataError as error:
            yield Refused.of(name, error)
