"""Record tables agree with a reader that takes one row after the other, and their counts add up."""

from __future__ import annotations

import csv
import math
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from client.cohorts.labels import read_labels
from client.cohorts.records import RecordTable, read_records
from client.dicom.pseudonyms import Pseudonyms
from common.errors import RecordsInvalid

NAMES = Pseudonyms(bytes(32))

values = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-9, 9).map(str),
    st.sampled_from(["", "?", "NA", "text"]),
)
long_rows = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", ""]),
        st.sampled_from(["0", "1.5", "-2", "1e3", "x", ""]),
        st.sampled_from(["HR", "K", "pH", ""]),
        values,
    ),
    max_size=40,
)


def table_of(rows: list[tuple[str, ...]], header: tuple[str, ...], delimiter: str = ",") -> Path:
    with tempfile.NamedTemporaryFile("w", suffix=".csv", delete=False, newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([header, *rows])
    return Path(file.name)


def slowly(rows: list[tuple[str, ...]]) -> dict[str, dict[float, dict[str, float]]]:
    """The cases of a long table, one row after the other."""
    cases: dict[str, dict[float, dict[str, float]]] = {}
    for patient, time, variable, value in rows:
        try:
            moment = float(time)
        except ValueError:
            continue
        if patient and variable:
            step = cases.setdefault(patient, {}).setdefault(moment, {})
            try:
                step[variable] = float(value)
            except ValueError:
                continue
    return cases


@given(long_rows, st.sampled_from(",;\t"))
def test_the_long_layout_is_what_its_rows_say(rows: list[tuple[str, ...]], delimiter: str) -> None:
    path = table_of(rows, ("patient", "time", "variable", "value"), delimiter)
    expected = slowly(rows)
    try:
        table = read_records(path, NAMES)
    except RecordsInvalid as refused:
        assert not expected or "mostly text" in refused.private
        return
    finally:
        path.unlink()
    assert [case.patient for case in table.cases] == [NAMES.patient(patient) for patient in expected]
    for case, steps in zip(table.cases, expected.values(), strict=True):
        assert case.times.tolist() == sorted(steps)
        wanted = [[steps[t].get(name, math.nan) for name in table.variables] for t in sorted(steps)]
        np.testing.assert_array_equal(case.values, np.array(wanted, dtype=np.float32))
    assert_counts(table, len(rows))


def assert_counts(table: RecordTable, rows: int) -> None:
    counts = table.counts
    assert counts.rows == rows == counts.used + sum(counts.left_out.values())
    measured = sum(int(np.isfinite(case.values).sum()) for case in table.cases)
    not_measured = sum(counts.missing.values()) + sum(counts.unreadable.values())
    assert counts.used == measured + counts.repeated + not_measured


patients = st.sampled_from(["a", "b", "c", " a ", ""])
uids = st.sampled_from(["1.1", "1.2", ""])
label_rows = st.lists(
    st.tuples(patients, uids, st.sampled_from(["0", "1", ""]), st.sampled_from(["train", "test", ""])).filter(
        lambda row: bool(row[0].strip() or row[1])
    ),
    max_size=12,
)


@given(label_rows)
def test_every_line_of_labels_is_used_unused_unlabelled_or_contradicted(
    rows: list[tuple[str, ...]],
) -> None:
    path = table_of(rows, ("patient_id", "sop_uid", "label", "split"))
    labels = read_labels(path, NAMES)
    path.unlink()
    contradicted = [line for lines in labels.conflicts for line in lines]
    lines = [*labels.unused(()), *labels.unlabelled, *set(contradicted)]
    assert sorted(lines) == list(range(2, len(rows) + 2))
    for label in labels.by_key.values():
        patient, _, value, split = rows[label.line - 2]
        assert label.value == value and split in ("", label.split)
        splits = {r[3] for r in rows if r[0].strip() == patient.strip() and r[2] and r[3]}
        assert not patient.strip() or len(splits) <= 1
