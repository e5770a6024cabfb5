"""Tables of labels, as hospitals export them."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.cohorts.labels import Label, Labels, read_labels
from client.dicom.pseudonyms import Pseudonyms
from common.errors import LabelsInvalid

NAMES = Pseudonyms(bytes(32))
ANNA, BERTA = NAMES.patient("Anna-1"), NAMES.patient("Berta-2")
SECRETS = ("Anna", "Berta", "1.2.3")


def read(folder: Path, text: str, encoding: str = "utf-8") -> Labels:
    (folder / "labels.csv").write_bytes(text.encode(encoding))
    return read_labels(folder / "labels.csv", NAMES)


def refusal(folder: Path, text: str, encoding: str = "utf-8") -> str:
    with pytest.raises(LabelsInvalid) as caught:
        read(folder, text, encoding)
    message = caught.value.private
    assert not any(secret in message for secret in SECRETS), message
    return message


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_way_of_writing_a_table(tmp_path: Path, mark: str, delimiter: str, end: str) -> None:
    rows = [["PatientID", "Remark", "Label", "split"], [" Anna-1 ", '"a, b; c\td"', " 1 ", "Test"]]
    labels = read(tmp_path, mark + end.join(delimiter.join(row) for row in rows) + end)
    assert labels.of(ANNA) == Label("1", "test", 2)
    assert labels.of(BERTA) is None


@pytest.mark.parametrize(
    ("column", "level"),
    [
        ("patient_id", "patient"),
        ("PATIENTID", "patient"),
        ("Patient ID", "patient"),
        ("StudyInstanceUID", "study"),
        ("study_uid", "study"),
        ("SeriesInstanceUID", "series"),
        ("series uid", "series"),
        ("SOPInstanceUID", "sop"),
        ("sop_uid", "sop"),
    ],
)
def test_columns_may_be_called_by_their_keyword(tmp_path: Path, column: str, level: str) -> None:
    ((found, key),) = read(tmp_path, f"{column},label\n1.2.3,x\n").by_key
    assert (found, key) == (level, NAMES.patient("1.2.3") if level == "patient" else NAMES.uid("1.2.3"))


def test_no_identifier_is_kept(tmp_path: Path) -> None:
    text = "patient_id,study_uid,label\nAnna-1,1.2.3,x\nAnna-1,,y\nAnna-1,,z\nBerta-2,,\n"
    labels = read(tmp_path, text)
    assert not any(secret in repr(labels) for secret in SECRETS)


def test_the_finest_identifier_of_a_row_decides_and_the_finest_row_wins(tmp_path: Path) -> None:
    text = "patient_id,study_uid,series_uid,sop_uid,label\n"
    text += "Anna-1,,,,p\nAnna-1,1.2,,,st\nAnna-1,1.2,1.2.3,,se\nAnna-1,1.2,1.2.3,1.2.3.4,so\n"
    labels = read(tmp_path, text)
    study, series, sop = (NAMES.uid(uid) for uid in ("1.2", "1.2.3", "1.2.3.4"))
    names = (ANNA, study, series, sop)
    found = [labels.of(*names[: count + 1]) for count in range(4)]
    assert [label and label.value for label in found] == ["p", "st", "se", "so"]
    assert labels.of(ANNA, "other", "other", "other") == Label("p", None, 2)
    assert labels.of(study) is None  # a study's name is no patient's


def test_contradictions_give_no_label_and_are_told_by_line(tmp_path: Path) -> None:
    text = "patient_id,label,split\nAnna-1,1,train\nBerta-2,1,train\nBerta-2,1,test\nAnna-1,0,train\n"
    labels = read(tmp_path, text)
    assert labels.by_key == {} and sorted(labels.conflicts) == [(2, 5), (3, 4)]
    assert labels.unused(()) == ()


def test_a_patient_in_two_splits_is_a_contradiction_whatever_the_rows_are_of(tmp_path: Path) -> None:
    text = "patient_id,sop_uid,label,split\nAnna-1,1.1,1,train\nAnna-1,1.2,1,test\nBerta-2,1.3,1,\n"
    text += "Berta-2,1.4,0,val\n"
    labels = read(tmp_path, text)
    assert labels.conflicts == ((2, 3),)
    assert sorted(label.line for label in labels.by_key.values()) == [4, 5]


def test_rows_that_say_the_same_are_one_label(tmp_path: Path) -> None:
    labels = read(tmp_path, "patient_id,label,split\n\nAnna-1,1,\nAnna-1,1,val\nBerta-2,0,\n")
    assert labels.of(ANNA) == Label("1", "val", 3)
    assert labels.unused(()) == (3, 4, 5) and labels.unused({3}) == (5,) and labels.unused({3, 5}) == ()


def test_a_row_without_label_says_nothing(tmp_path: Path) -> None:
    labels = read(tmp_path, "patient_id,label,split\nAnna-1,,test\nAnna-1,1,train\nBerta-2, ,\n")
    assert labels.unlabelled == (2, 4) and labels.conflicts == ()
    assert labels.of(ANNA) == Label("1", "train", 3) and labels.of(BERTA) is None


def test_lines_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    text = 'patient_id,label,remark\nAnna-1,1,"two\nlines"\n\nBerta-2,0,\n'
    assert {label.line for label in read(tmp_path, text).by_key.values()} == {2, 5}


def test_labels_pass_through_a_database(tmp_path: Path) -> None:
    labels = read(tmp_path, "patient_id,sop_uid,label,split\nAnna-1,,1,val\nAnna-1,1.2.3,0,\n")
    again = Labels.of_rows(labels.to_rows())
    assert again.by_key == labels.by_key and again.unused({2}) == labels.unused({2}) == (3,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["line 1", "label"]),
        ("Anna-1,1\nBerta-2,0\n", ["line 1", "label"]),
        ("Anna-1,label\nBerta-2,0\n", ["line 1", "patient_id"]),
        ("patient_id,label,Label\nAnna-1,1,1\n", ["line 1", "'label'", "twice"]),
        ("PatientID,patient_id,label\nAnna-1,1,1\n", ["line 1", "'patient'", "twice"]),
        ("patient_id,label\nAnna-1,1\nBerta-2\n", ["line 3", "1 values"]),
        ("patient_id,label\nAnna-1,1,Berta\n", ["line 2", "3 values"]),
        ("patient_id,label\n,1\n", ["line 2", "identifier"]),
        ("patient_id,label,split\nAnna-1,1,Berta\n", ["line 2", "'split'"]),
        ('patient_id,label\n"Anna-1,1\n', ["quotation"]),
    ],
)
def test_refusals_name_line_and_column_and_no_value(tmp_path: Path, text: str, words: list[str]) -> None:
    message = refusal(tmp_path, text)
    assert all(word in message for word in ["labels.csv", *words]), message


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_other_encodings_are_refused(tmp_path: Path, encoding: str) -> None:
    assert "UTF-8" in refusal(tmp_path, "patient_id,label\nAnna-1,größer\n", encoding)


def test_what_is_no_table_is_refused_at_once(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "absent", Path("/dev/zero")):
        with pytest.raises(LabelsInvalid):
            read_labels(place, NAMES)


def test_the_stays_of_an_intensive_care_unit(data_folder: Path) -> None:
    labels = read_labels(data_folder / "icu" / "stays.csv", NAMES)
    assert len(labels.by_key) == 4000 and not labels.conflicts and not labels.unlabelled
    assert labels.of(NAMES.patient("132539")) == Label("0", "test", 2)
