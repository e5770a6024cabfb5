"""Tables of measurements as cohorts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.cohorts.cohort import Cohort, open_cohort
from client.cohorts.home import Home
from client.cohorts.overview import overview
from client.cohorts.records.layout import RecordRules
from client.cohorts.registering import register_records
from client.cohorts.rules import Rules
from client.cohorts.store import PIXEL_FILE
from common.audit import AuditLog
from common.errors import CohortDiffers, HomeBusy, LabelsInvalid, RecordsInvalid
from tests.unit.cohorts.archives import labels_of, laid, picture, taken

LONG = """patient,time,variable,value
Anna,0,HR,80
Anna,1,HR,90
Anna,1,K,4.5
Berta,0,HR,70
Carla,5,K,3.9
Carla,5,K,nonsense
,5,K,3.9
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "records.csv"
    path.write_text(LONG)
    return path


def registered(home: Home, table: Path, labels: Path | None = None, **rules: object) -> Cohort:
    register_records(home, "r", table, labels, Rules(**rules), RecordRules())  # type: ignore[arg-type]
    return open_cohort(home, "r")


def test_every_record_is_a_case(home: Home, table: Path, tmp_path: Path) -> None:
    labels = labels_of(tmp_path / "l.csv", "Anna,1,train Berta,0,test Dora,1,train")
    cohort = registered(home, table, labels)
    assert cohort.row.rules.sequence == "steps" and cohort.row.rules.variables == ("HR", "K")
    by_patient = {case.patient: case for case in cohort.cases}
    names = home.pseudonyms
    anna, berta, carla = (by_patient[names.patient(name)] for name in ("Anna", "Berta", "Carla"))
    assert (anna.label, anna.split, berta.label, berta.split, carla.label) == (
        "1",
        "train",
        "0",
        "test",
        None,
    )
    times, found = cohort.record(anna)
    assert times.dtype == np.float64 and found.dtype == np.float32
    np.testing.assert_array_equal(times, [0, 1])
    np.testing.assert_array_equal(found, np.array([[80, np.nan], [90, 4.5]], dtype=np.float32))
    notes = cohort.row.notes
    assert notes["lines of labels without a case"] == 1 and notes["cases without label"] == 1
    assert (
        notes["rows read"] == 7
        and notes["rows used"]
        + sum(count for note, count in notes.items() if note.startswith("rows left out"))
        == 7
    )
    cohort.verify(cohort.cases)
    cohort.require_usable(0.0)
    assert overview(cohort, 0.0).files["seen"] == 1


def test_nobody_is_named(home: Home, table: Path, tmp_path: Path) -> None:
    registered(home, table, labels_of(tmp_path / "l.csv", "Anna,1,train"))
    content = b"".join(path.read_bytes() for path in home.folder.rglob("*") if path.is_file())
    for name in ("Anna", "Berta", "Carla", "records.csv", str(tmp_path), table.name):
        assert name.encode() not in content, name


def test_the_cohort_is_what_the_table_says_now(home: Home, table: Path, tmp_path: Path) -> None:
    first = registered(home, table)
    size = (home.cohort_folder("r") / PIXEL_FILE).stat().st_size
    same = registered(home, table)
    assert same.row.fingerprint == first.row.fingerprint and same.row.intakes == 2
    assert {case.intake for case in same.cases} == {1}
    assert (home.cohort_folder("r") / PIXEL_FILE).stat().st_size == size
    later = tmp_path / "records-of-march.csv"
    later.write_text(LONG.replace("Berta,0,HR,70\n", "") + "Dora,1,HR,60\nDora,2,K,4\n")
    changed = registered(home, later)
    assert len(changed.cases) == 3 and changed.row.fingerprint != first.row.fingerprint
    assert sorted(case.intake for case in changed.cases) == [1, 1, 3]
    assert (changed.seen, overview(changed, 0.0).files["case"]) == (1, 1)


def test_splits_are_drawn_by_the_key_for_patients(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    path.write_text("row,x\n" + "".join(f"patient-{n},1\npatient-{n},2\n" for n in range(300)))
    cohort = registered(home, path, test_share=0.3)
    splits: dict[str, set[str]] = {}
    for case in cohort.cases:
        splits.setdefault(case.patient, set()).add(case.split)
    assert len(cohort.cases) == 600 and all(len(each) == 1 for each in splits.values())
    tested = sum(each == {"test"} for each in splits.values())
    assert 60 <= tested <= 120  # 90 expected, standard deviation 8
    assert tested == sum(home.pseudonyms.share(patient) < 0.3 for patient in splits)


def test_a_split_of_the_table_counts_before_the_key(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    path.write_text("row,x,label,split\nAnna,1,1,val\nAnna,2,0,\nBerta,1,1,train\nBerta,2,1,test\n")
    cohort = registered(home, path, test_share=1.0)
    names = home.pseudonyms
    splits = {(case.patient, case.split) for case in cohort.cases}
    assert splits == {(names.patient("Anna"), "val"), (names.patient("Berta"), "test")}
    assert {case.label for case in cohort.cases if case.patient == names.patient("Berta")} == {None}


def test_other_variables_are_another_cohort(home: Home, table: Path) -> None:
    registered(home, table)
    table.write_text(LONG + "Anna,2,NA2,1\n")
    with pytest.raises(CohortDiffers, match="variables was"):
        registered(home, table)
    with pytest.raises(CohortDiffers, match=r"test_share was 0\.2, is 0\.5"):
        table.write_text(LONG)
        registered(home, table, test_share=0.5)


def test_pictures_and_records_do_not_mix(home: Home, table: Path, tmp_path: Path) -> None:
    taken(home, laid(tmp_path / "in", [picture()]), name="r")
    with pytest.raises(CohortDiffers, match="sequence was rows, is steps"):
        registered(home, table)


def test_what_cannot_be_read_changes_nothing(home: Home, table: Path, tmp_path: Path) -> None:
    before = registered(home, table)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(RecordsInvalid):
        registered(home, tmp_path / "empty.csv")
    with pytest.raises(LabelsInvalid):
        registered(home, table, tmp_path / "empty.csv")
    with pytest.raises(HomeBusy), home.changing("r"):
        registered(home, table)
    assert open_cohort(home, "r").row == before.row
    events = [entry.event for entry in AuditLog(home.folder / "audit.jsonl").entries()]
    assert events == ["site.created", "cohort.records-begun", "cohort.records-registered"]
