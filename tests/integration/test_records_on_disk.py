"""The real record tables: four thousand intensive-care stays, and the heart patients of four hospitals."""

from __future__ import annotations

import gzip
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from client.cohorts.labels import Labels, read_labels
from client.cohorts.records import LeftOut, RecordRules, RecordTable, read_records
from client.dicom.pseudonyms import Pseudonyms
from common.errors import RecordsInvalid

NAMES = Pseudonyms(bytes(range(32)))
HOSPITALS = {"cleveland": (133, 66), "hungarian": (114, 58), "switzerland": (20, 10), "va": (57, 28)}
"""Training and test cases."""

INCOMPLETE = {"cleveland": 0, "hungarian": 33, "switzerland": 77, "va": 70}
"""Rows whose split is none of ours."""


@pytest.fixture(scope="module")
def labels(data_folder: Path) -> Labels:
    return read_labels(data_folder / "icu" / "stays.csv", NAMES)


@pytest.fixture(scope="module")
def icu(data_folder: Path, labels: Labels) -> RecordTable:
    return read_records(data_folder / "icu" / "events.csv.gz", NAMES, None, labels)


@pytest.mark.slow
def test_every_event_of_the_stays_is_used(icu: RecordTable, labels: Labels) -> None:
    counts = icu.counts
    assert counts.rows == counts.used == 1_654_892 and counts.left_out == {}
    assert len(icu.cases) == 3997 and len(icu.variables) == 37
    measured = sum(int(np.isfinite(case.values).sum()) for case in icu.cases)
    assert counts.used == measured + counts.repeated
    assert all((np.diff(case.times) > 0).all() and case.times[-1] <= 48 * 60 for case in icu.cases)
    assert len(labels.unused({case.line for case in icu.cases if case.line})) == 3  # stays without an event
    assert counts.unlabelled == 0


@pytest.mark.slow
def test_single_stays_are_what_their_lines_say(icu: RecordTable, data_folder: Path) -> None:
    wanted = {"132539", "132540", "142673"}
    steps: dict[str, dict[float, dict[str, float]]] = {stay: {} for stay in wanted}
    with gzip.open(data_folder / "icu" / "events.csv.gz", "rt", encoding="utf-8") as file:
        for line in file:
            if line[:6] in wanted:
                stay, minute, name, value = line.split(",")
                steps[stay].setdefault(float(minute), {})[name] = float(value)
    cases = {case.patient: case for case in icu.cases}
    for stay, by_time in steps.items():
        case = cases[NAMES.patient(stay)]
        assert case.times.tolist() == sorted(by_time)
        expected = [[by_time[t].get(name, math.nan) for name in icu.variables] for t in sorted(by_time)]
        np.testing.assert_array_equal(case.values, np.array(expected, dtype=np.float32))


@pytest.mark.parametrize("hospital", HOSPITALS)
def test_heart_patients_of_one_hospital(data_folder: Path, hospital: str) -> None:
    rules = RecordRules(where=(("hospital", hospital),), ignore=("num",))
    table = read_records(data_folder / "heart" / "heart_disease.csv", NAMES, rules)
    assert len(table.variables) == 13 and table.variables[0] == "age"
    splits = Counter(case.split for case in table.cases)
    assert (splits["train"], splits["test"]) == HOSPITALS[hospital]
    assert {case.label for case in table.cases} == {"0", "1"} or hospital == "switzerland"
    counts = table.counts
    assert counts.rows == 666 == counts.used + sum(counts.left_out.values())
    assert counts.left_out.get(LeftOut.split_unknown, 0) == INCOMPLETE[hospital]
    assert counts.unlabelled == counts.conflicts == 0


def test_a_column_of_text_is_named(data_folder: Path) -> None:
    with pytest.raises(RecordsInvalid, match="variable hospital is mostly text"):
        read_records(data_folder / "heart" / "heart_disease.csv", NAMES)
