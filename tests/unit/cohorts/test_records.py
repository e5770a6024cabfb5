"""Record tables: both layouts, what is left out, and what is refused."""

from __future__ import annotations

import gzip
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.cohorts.labels import read_labels
from client.cohorts.records import (
    LeftOut,
    RecordCase,
    RecordRules,
    RecordTable,
    measurements,
    read_records,
    rows,
)
from client.dicom.pseudonyms import Pseudonyms
from common.errors import RecordsInvalid

NAMES = Pseudonyms(bytes(32))
ANNA, BERTA = NAMES.patient("Anna"), NAMES.patient("Berta")
NAN = float("nan")
LONG = "patient,time,variable,value\n"


def read(folder: Path, text: str, rules: RecordRules | None = None) -> RecordTable:
    (folder / "records.csv").write_text(text, encoding="utf-8")
    return read_records(folder / "records.csv", NAMES, rules)


def refusal(folder: Path, text: str, rules: RecordRules | None = None) -> str:
    with pytest.raises(RecordsInvalid) as caught:
        read(folder, text, rules)
    assert "Anna" not in caught.value.private and "Berta" not in caught.value.private
    return caught.value.private


def assert_case(case: RecordCase, times: list[float], values: list[list[float]]) -> None:
    assert case.times.dtype == np.float64 and case.values.dtype == np.float32
    assert case.times.tolist() == times
    np.testing.assert_array_equal(case.values, np.array(values, dtype=np.float32))


def test_the_long_layout(tmp_path: Path) -> None:
    rows = "Anna,60,HR,80\nBerta,5,K,4.5\nAnna,0,K,3.9\n\nAnna,0,HR,70\nAnna,60,HR,81.5\n"
    table = read(tmp_path, LONG + rows)
    assert table.variables == ("HR", "K")
    assert [case.patient for case in table.cases] == [ANNA, BERTA]
    assert_case(table.cases[0], [0, 60], [[70, np.float32(3.9)], [81.5, NAN]])
    assert_case(table.cases[1], [5], [[NAN, 4.5]])
    counts = table.counts
    assert (counts.rows, counts.used, counts.left_out, counts.repeated) == (5, 5, {}, 1)
    assert counts.unlabelled == 2 and counts.conflicts == 0


def test_the_wide_layout(tmp_path: Path) -> None:
    text = "row,age,sex,,label,split\nAnna,61,?,9,1,Train\nBerta,NA,0,9,0,test\n"
    table = read(tmp_path, text)
    assert table.variables == ("age", "sex")  # a column without a name is an index, not a variable
    assert_case(table.cases[0], [0], [[61, NAN]])
    assert_case(table.cases[1], [0], [[NAN, 0]])
    assert [(c.patient, c.label, c.split) for c in table.cases] == [
        (ANNA, "1", "train"),
        (BERTA, "0", "test"),
    ]
    assert table.counts.missing == {"age": 1, "sex": 1} and table.counts.unreadable == {}


def test_no_identifier_is_kept(tmp_path: Path) -> None:
    table = read(tmp_path, "patient,case,label,x\nAnna,Visit Anna,1,2\nBerta,7,0,3\n")
    text = repr(table)
    assert "Anna" not in text and "Berta" not in text and "Visit" not in text


def test_what_counts_as_missing(tmp_path: Path) -> None:
    rows = "".join(f"Anna,{n},HR,{value}\n" for n, value in enumerate(["", "?", "NA", "nan", "-1", "-1.0"]))
    told = read(tmp_path, LONG + rows, RecordRules(missing=("-1", "refused")))
    assert told.counts.missing == {"HR": 6} and told.counts.used == 6
    assert np.isnan(told.cases[0].values).all() and len(told.cases[0].times) == 6
    untold = read(tmp_path, LONG + rows)
    assert untold.counts.missing == {"HR": 4}
    assert untold.cases[0].values[4:].tolist() == [[-1], [-1]]


def test_text_and_infinity_are_no_numbers(tmp_path: Path) -> None:
    values = ["70", "71", "72", "73", "74", "refused", "inf", "1e39", "1_0"]
    table = read(tmp_path, LONG + "".join(f"Anna,{n},HR,{value}\n" for n, value in enumerate(values)))
    assert table.counts.unreadable == {"HR": 4} and table.counts.missing == {}
    assert table.cases[0].values[:, 0].tolist()[:5] == [70, 71, 72, 73, 74]
    assert np.isnan(table.cases[0].values[5:]).all()


def test_a_missing_value_does_not_replace_a_measured_one(tmp_path: Path) -> None:
    table = read(tmp_path, LONG + "Anna,0,HR,70\nAnna,0,HR,\n")
    assert_case(table.cases[0], [0], [[70]])
    assert table.counts.repeated == 0


def test_every_reason_for_leaving_a_row_out(tmp_path: Path) -> None:
    text = "patient,time,variable,value,split,ward\n"
    text += "Anna,0,HR,70,train,a\n"
    text += "Anna,0,HR\n"
    text += "Anna,0,HR,70,train,b\n"
    text += " ,0,HR,70,train,a\n"
    text += "Anna,0,HR,70,incomplete,a\n"
    text += "Anna,0,,70,train,a\n"
    text += "Anna,0,Note,70,train,a\n"
    text += "Anna,soon,HR,70,train,a\nAnna,inf,HR,70,train,a\nAnna,2020-01-01,HR,70,train,a\n"
    table = read(tmp_path, text, RecordRules(where=(("ward", "a"),), ignore=("Note",)))
    assert table.counts.left_out == {**dict.fromkeys(LeftOut, 1), LeftOut.time: 3}
    assert table.counts.rows == 10 and table.counts.used == 1 and table.variables == ("HR",)


def test_dates_become_hours_since_the_first(tmp_path: Path) -> None:
    rows = "Anna,2020-01-02 00:30,HR,2\nAnna,2020-01-01T23:00:00,HR,1\nBerta,2021-06-01,HR,3\nAnna,5,HR,9\n"
    rows += "Anna,2020-01-02T00:30+02:00,HR,9\n"
    table = read(tmp_path, LONG + rows)
    assert_case(table.cases[0], [0, 1.5], [[1], [2]])
    assert_case(table.cases[1], [0], [[3]])
    assert table.counts.left_out == {LeftOut.time: 2}


def test_time_zones_are_compared(tmp_path: Path) -> None:
    rows = "Anna,2020-01-01T12:00+02:00,HR,1\nAnna,2020-01-01T12:00Z,HR,2\n"
    assert read(tmp_path, LONG + rows).cases[0].times.tolist() == [0, 2]


def test_several_cases_of_a_patient(tmp_path: Path) -> None:
    table = read(
        tmp_path, "patient,case_id,time,variable,value\nAnna,a,0,HR,1\nAnna,b,0,HR,2\nBerta,a,0,HR,3\n"
    )
    assert [case.patient for case in table.cases] == [ANNA, ANNA, BERTA]
    assert len({(case.patient, case.case) for case in table.cases}) == 3
    wide = read(tmp_path, "patient,x\nAnna,1\nAnna,2\n")
    assert [(case.patient, case.case) for case in wide.cases] == [(ANNA, ""), (ANNA, "2")]


def test_variables_asked_for_keep_their_order_and_are_there_even_if_never_measured(tmp_path: Path) -> None:
    rows = LONG + "Anna,0,HR,70\nAnna,0,K,4\nAnna,0,Na,140\n"
    table = read(tmp_path, rows, RecordRules(variables=("Na", "pH", "HR")))
    assert table.variables == ("Na", "pH", "HR")
    assert_case(table.cases[0], [0], [[140, NAN, 70]])
    assert table.counts.left_out == {LeftOut.unwanted: 1}
    wide = read(tmp_path, "patient,a,b,c\nAnna,1,x,3\n", RecordRules(variables=("c", "a")))
    assert_case(wide.cases[0], [0], [[3, 1]])


def test_other_names_of_columns(tmp_path: Path) -> None:
    text = "MRN,id,Tag,item,result\nAnna,7,3,HR,70\n"
    named = {"patient": "mrn", "time": "Tag", "variable": "item", "value": "result"}
    assert_case(read(tmp_path, text, RecordRules(columns=named)).cases[0], [3], [[70]])
    assert_case(read(tmp_path, "record_id,minute,parameter,value\nAnna,3,HR,70\n").cases[0], [3], [[70]])


def test_identifiers_are_no_variables(tmp_path: Path) -> None:
    text = "mrn,id,subject_id,x\nAnna,7,8,9\n"
    table = read(tmp_path, text, RecordRules(columns={"patient": "mrn"}))
    assert table.variables == ("x",)


def test_decimal_commas_between_semicolons(tmp_path: Path) -> None:
    table = read(tmp_path, "patient;x;y\nAnna;1,5;2.5\nBerta;1.000,5;3\n", RecordRules(ignore=()))
    assert table.cases[0].values.tolist() == [[1.5, 2.5]]
    assert table.counts.unreadable == {"x": 1}


def test_labels_of_rows_that_agree_and_contradict(tmp_path: Path) -> None:
    text = "patient,case,time,variable,value,label,split\n"
    text += "Anna,1,0,x,1,yes,\nAnna,1,1,x,1,,test\nAnna,2,0,x,1,no,\n"  # one patient, one split
    text += "Berta,1,0,x,1,yes,train\nBerta,1,1,x,1,no,train\n"  # two labels
    text += "Cora,1,0,x,1,yes,train\nCora,2,0,x,1,yes,test\nDora,1,0,x,1,,val\n"  # two splits; no label
    table = read(tmp_path, text)
    said = [(case.label, case.split) for case in table.cases]
    assert said == [("yes", "test"), ("no", "test"), *[(None, None)] * 3, (None, "val")]
    assert table.counts.conflicts == 3 and table.counts.unlabelled == 4


def test_labels_from_a_table_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("patient_id,label,split\nBerta,1,test\nCora,0,train\n")
    (tmp_path / "records.csv").write_text(LONG + "Anna,0,HR,70\nBerta,0,HR,80\n")
    labels = read_labels(tmp_path / "labels.csv", NAMES)
    table = read_records(tmp_path / "records.csv", NAMES, None, labels)
    assert [(c.label, c.split, c.line) for c in table.cases] == [(None, None, None), ("1", "test", 2)]
    assert labels.unused({case.line for case in table.cases if case.line}) == (3,)
    assert table.counts.unlabelled == 1
    (tmp_path / "records.csv").write_text("patient,x,label\nAnna,0,1\n")
    with pytest.raises(RecordsInvalid, match="table of labels"):
        read_records(tmp_path / "records.csv", NAMES, None, labels)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "patient"),
        ("Anna,70\nBerta,80\n", "patient"),
        ("patient,label\nAnna,1\n", "variable"),
        (LONG, "no row"),
        (LONG + ",0,HR,70\n,1,HR,70\n", "2 patient-missing"),
        ("patient,id,x\nAnna,1,2\n", "several"),
        ("patient,x,x\nAnna,1,2\n", "same name"),
        ("patient,age,note\nAnna,1,Anna fell\nBerta,2,fine\n", "variable note"),
        (LONG + "Berta,0,HR,70\nAnna,0,Anna,fell\n", "row 2"),
        (LONG + 'Anna,0,HR,"70\n', "quotation"),
    ],
)
def test_refusals_quote_no_value(tmp_path: Path, text: str, words: str) -> None:
    assert words in refusal(tmp_path, text)


@pytest.mark.parametrize(
    "rules",
    [
        RecordRules(columns={"patients": "x"}),
        RecordRules(columns={"patient": "absent"}),
        RecordRules(variables=("absent",)),
        RecordRules(where=(("absent", "1"),)),
    ],
)
def test_rules_that_do_not_fit_the_table(tmp_path: Path, rules: RecordRules) -> None:
    message = refusal(tmp_path, "patient,x\nAnna,1\n", rules)
    assert "absent" in message or "patients" in message


def test_inflating_ends_at_the_limit(tmp_path: Path) -> None:
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(LONG.encode() + b"Anna,0,HR,70\n" * 10**5))
    assert len(read_records(tmp_path / "bomb.csv.gz", NAMES).cases) == 1
    with pytest.raises(RecordsInvalid, match="more than 1000000 bytes"):
        read_records(tmp_path / "bomb.csv.gz", NAMES, limit_bytes=10**6)


def test_broken_gzip_and_pipes_are_refused(tmp_path: Path) -> None:
    whole = gzip.compress(LONG.encode() + os.urandom(9999).hex().encode())
    for number, data in enumerate((whole[:-4000], whole[:2], whole[:50] + b"!" * 50 + whole[100:])):
        (tmp_path / f"{number}.csv.gz").write_bytes(data)
        with pytest.raises(RecordsInvalid):
            read_records(tmp_path / f"{number}.csv.gz", NAMES)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RecordsInvalid):
        read_records(tmp_path / "pipe", NAMES)


def test_tables_that_cannot_be_held_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = LONG + "Anna,0,a,1\nAnna,1,b,2\nAnna,2,c,3\n"
    with monkeypatch.context() as changed:
        changed.setattr(measurements, "MAX_CELLS", 8)
        assert "3 times and 3 variables" in refusal(tmp_path, text)
    monkeypatch.setattr(rows, "MAX_VARIABLES", 2)
    assert "more than 2 variables" in refusal(tmp_path, text)


def test_the_number_of_rows_in_a_chunk_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "".join(
        f"{'Anna' if n % 3 else 'Berta'},{n % 4},v{n % 5},{n if n % 7 else 'x'}\n" for n in range(40)
    )
    whole = read(tmp_path, LONG + rows)
    monkeypatch.setattr("client.cohorts.records.table.CHUNK_ROWS", 3)
    parts = read(tmp_path, LONG + rows)
    assert replace(parts, cases=()).counts == whole.counts and parts.variables == whole.variables
    for one, other in zip(whole.cases, parts.cases, strict=True):
        assert_case(one, other.times.tolist(), other.values.tolist())
