"""Tables of records become sites, by a column of either table or dealt, with what is known once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from client.cases import decode, subgroups
from client.manifest import read_manifest
from common.errors import CohortUnsuitable, DataError, LabelsInvalid, RecordsInvalid, SitesOverruled
from common.sequences import SequenceBatch
from common.study import Study, parse_study
from deploy.federation import FederationData, resolve_tables
from deploy.record_tables import RecordTables

CPU = torch.device("cpu")
EVENTS = """record_id,minute,parameter,value
7,0,HR,80
7,0,Temp,37
7,90,HR,120
8,5,HR,60
9,0,HR,70
9,0,Temp,-1
10,3,HR,90
11,3,HR,90
"""
STAYS = """record_id,age,gender,height_cm,label,unit,split
7,54,1,170,0,medical,train
8,80,0,-1,1,medical,test
9,30,1,180,1,surgical,train
10,30,-1,180,0,surgical,test
11,30,1,180,,surgical,test
12,60,0,160,0,surgical,train
"""
WIDE = """hospital,row,age,sex,chol,num,split,label
cleveland,0,63,1,200,3,train,1
cleveland,1,40,0,?,0,test,0
va,0,50,1,300,1,train,1
va,1,51,1,310,0,test,0
va,2,51,1,310,0,incomplete,0
"""


def study_of(*variables: str, head: dict[str, Any] | None = None, **sequence: Any) -> Study:
    named = {name: {"centre": 0.0, "scale": 1.0} for name in variables or ("HR", "Temp")}
    return parse_study(
        {
            "study": {"name": "x", "labels": {"0": "survived", "1": "died"}, **(head or {})},
            "sequence": {"kind": "steps", "variables": named, **sequence},
        }
    )


@pytest.fixture
def icu(tmp_path: Path) -> RecordTables:
    (tmp_path / "events.csv").write_text(EVENTS)
    (tmp_path / "stays.csv").write_text(STAYS)
    return RecordTables(tmp_path / "events.csv", tmp_path / "stays.csv", "unit", missing=("-1",))


@pytest.fixture
def heart(tmp_path: Path) -> RecordTables:
    (tmp_path / "heart.csv").write_text(WIDE)
    return RecordTables(tmp_path / "heart.csv", site_from="hospital", ignore=("num",))


def cases(data: FederationData, site: str, split: str, study: Study, folder: Path) -> SequenceBatch:
    source = next(s.source for s in data.materialise(folder, "cpu") if s.name == site)
    return decode(source, data.cases[site].of(split), study, CPU)  # type: ignore[arg-type]


def test_patients_are_at_the_sites_that_their_table_names(icu: RecordTables, tmp_path: Path) -> None:
    study = study_of()
    data = resolve_tables(study, icu, tmp_path)
    assert {site: (len(c.train), len(c.test)) for site, c in data.cases.items()} == {
        "medical": (1, 1),
        "surgical": (2, 1),
    }
    batch = cases(data, "medical", "train", study, tmp_path)
    assert batch.steps.tolist() == [[[80, 37, 1, 1, 0, 0], [120, 0, 1, 0, 90, 90]]]
    assert batch.targets.tolist() == [0]


def test_each_site_has_a_file_of_its_own(icu: RecordTables, tmp_path: Path) -> None:
    data = resolve_tables(study_of(), icu, tmp_path)
    files = {}
    for site in data.materialise(tmp_path, "cpu"):
        rows = read_manifest(Path(site.manifest)).of_site(site.name)
        files[site.name] = {Path(row.path).name.partition("#")[0] for row in rows}
    assert files == {"medical": {"records-0.npz"}, "surgical": {"records-1.npz"}}


def test_what_is_known_once_stands_at_the_first_step(icu: RecordTables, tmp_path: Path) -> None:
    study = study_of("HR", "age", "height_cm")
    data = resolve_tables(study, icu, tmp_path)
    assert cases(data, "medical", "train", study, tmp_path).steps[0, :, 1:6].tolist() == [
        [54, 170, 1, 1, 1],
        [0, 0, 1, 0, 0],
    ]
    tall = cases(data, "medical", "test", study, tmp_path).steps[0, 0, :6].tolist()
    assert tall == [60, 80, 0, 1, 1, 0], "-1 is a height that is missing"


def test_a_patient_of_whom_nothing_was_measured_is_one_step(icu: RecordTables, tmp_path: Path) -> None:
    study = study_of("HR", "age")
    batch = cases(resolve_tables(study, icu, tmp_path), "surgical", "train", study, tmp_path)
    assert batch.lengths.tolist() == [1, 1]
    assert batch.steps[1, 0].tolist() == [0, 60, 0, 1, 0, 0]


def test_subgroups_come_from_the_table_of_labels(icu: RecordTables, tmp_path: Path) -> None:
    data = resolve_tables(study_of(), icu, tmp_path)
    entries = [entry for c in data.cases.values() for entry in (*c.train, *c.test)]
    found = {kind: groups.tolist() for kind, groups in subgroups(entries).items()}
    assert found == {
        "age": ["40-64", "65+", "18-39", "40-64", "18-39"],
        "sex": ["1", "0", "1", "0", ""],
    }


def test_patients_that_each_hospital_numbers_anew_stay_apart(heart: RecordTables, tmp_path: Path) -> None:
    study = study_of("age", "chol")
    data = resolve_tables(study, heart, tmp_path)
    assert {site: (len(c.train), len(c.test)) for site, c in data.cases.items()} == {
        "cleveland": (1, 1),
        "va": (1, 1),
    }
    assert cases(data, "va", "train", study, tmp_path).steps.tolist() == [[[50, 300, 1, 1, 0, 0]]]
    assert cases(data, "cleveland", "test", study, tmp_path).steps.tolist() == [[[40, 0, 1, 0, 0, 0]]]
    assert len({entry.patient for c in data.cases.values() for entry in (*c.train, *c.test)}) == 4
    groups = subgroups(data.cases["cleveland"].train)
    assert {kind: found.tolist() for kind, found in groups.items()} == {"age": ["40-64"], "sex": ["1"]}


@pytest.mark.parametrize("where", [("hospital", "va"), ("label", "1"), ("sex", "1")])
def test_where_narrows_either_table(
    heart: RecordTables, icu: RecordTables, tmp_path: Path, where: tuple[str, str]
) -> None:
    study = parse_study({**study_of("age").model_dump(), "data": {"min_test_cases": 0}})
    data = resolve_tables(study, heart, tmp_path, where=(where,))
    expected = {"hospital": {"va": 2}, "label": {"cleveland": 1, "va": 1}, "sex": {"cleveland": 1, "va": 2}}
    assert {site: len(c.train) + len(c.test) for site, c in data.cases.items()} == expected[where[0]]
    narrowed = resolve_tables(study_of(), icu, tmp_path, where=(("unit", "medical"),))
    assert list(narrowed.cases) == ["medical"]


def many(folder: Path, patients: int = 30) -> RecordTables:
    rows = [f"{n},0,HR,{n}\n{n},1,HR,{n}" for n in range(patients)]
    stays = [f"{n},{n % 2},{'test' if n % 3 == 0 else 'train'}" for n in range(patients)]
    (folder / "r.csv").write_text("patient,time,variable,value\n" + "\n".join(rows) + "\n")
    (folder / "l.csv").write_text("patient,label,split\n" + "\n".join(stays) + "\n")
    return RecordTables(folder / "r.csv", folder / "l.csv")


def test_one_table_is_dealt_by_patient_and_seed(tmp_path: Path) -> None:
    study, tables = study_of("HR"), many(tmp_path)
    dealt = [resolve_tables(study, tables, tmp_path, sites=3, seed=seed) for seed in (1, 1, 2)]
    homes = [{e.patient: s for s, c in d.cases.items() for e in (*c.train, *c.test)} for d in dealt]
    assert homes[0] == homes[1] != homes[2] and len(homes[0]) == 30
    assert list(dealt[0].cases) == ["site-1", "site-2", "site-3"]
    for site in dealt[2].cases:
        batch = cases(dealt[2], site, "train", study, tmp_path)
        assert torch.equal(batch.targets, batch.steps[:, 0, 0].long() % 2), "a record stays with its label"


def test_real_sites_of_a_table_are_not_dealt(icu: RecordTables, tmp_path: Path) -> None:
    with pytest.raises(SitesOverruled, match="2 sites"):
        resolve_tables(study_of(), icu, tmp_path, sites=3)


def test_risk_takes_its_time_from_the_table_of_labels(
    tmp_path: Path,
) -> None:
    tables = many(tmp_path, 2)
    (tmp_path / "l.csv").write_text("patient,label,split,time\n0,1,train,120\n1,0,test,-1\n")
    study = study_of("HR", head={"task": "risk"}, time_scale=60.0)
    data = resolve_tables(study, tables, tmp_path)
    assert cases(data, "all", "train", study, tmp_path).targets.tolist() == [[1.0, 2.0]]
    assert cases(data, "all", "test", study, tmp_path).targets.tolist() == [[0.0, -1.0]]


@pytest.mark.parametrize(
    ("change", "kind", "word"),
    [
        ({"site_from": "ward"}, RecordsInvalid, "neither table has a column 'ward'"),
        ({"labels": "missing.csv"}, LabelsInvalid, "cannot be read"),
        ({"labels": "twice.csv"}, LabelsInvalid, "line 3: two rows of a patient differ"),
        ({"labels": "short.csv"}, LabelsInvalid, "line 2: wrong number"),
        ({"labels": "nobody.csv"}, LabelsInvalid, "no columns that could be the patient"),
        ({"labels": "unsplit.csv"}, RecordsInvalid, "has no split"),
        ({"labels": "unlabelled.csv"}, RecordsInvalid, "no case has a label"),
        ({"ignore": ("Temp",)}, CohortUnsuitable, "lack variables that the study names: Temp"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(
    icu: RecordTables, tmp_path: Path, change: dict[str, Any], kind: type[DataError], word: str
) -> None:
    for name, text in {
        "twice": "record_id,label,split\n7,0,train\n7,1,train\n",
        "short": "record_id,label,split\n7,0\n",
        "nobody": "who,label,split\n7,0,train\n",
        "unsplit": "record_id,label,split\n7,0,\n",
        "unlabelled": "record_id,label,split\n7,,train\n",
    }.items():
        (tmp_path / f"{name}.csv").write_text(text)
    labels = tmp_path / change.pop("labels", "stays.csv")
    asked = {"site_from": None if labels.name != "stays.csv" else "unit", **change}
    tables = RecordTables(icu.records, labels, missing=("-1",), **asked)
    with pytest.raises(kind, match=word):
        resolve_tables(study_of(), tables, tmp_path)


def test_labels_stand_in_one_table(heart: RecordTables, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("row,label,split\n0,1,train\n1,0,test\n")
    tables = RecordTables(heart.records, tmp_path / "l.csv", ignore=("num", "hospital"))
    with pytest.raises(RecordsInvalid, match="a table of labels is given too"):
        resolve_tables(study_of("age"), tables, tmp_path)


def test_a_study_of_pictures_reads_no_tables(icu: RecordTables, tmp_path: Path) -> None:
    study = parse_study({"study": {"name": "x", "labels": {"0": "a", "1": "b"}}})
    with pytest.raises(CohortUnsuitable, match="asks for rows"):
        resolve_tables(study, icu, tmp_path)
