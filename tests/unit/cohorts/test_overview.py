"""A cohort in counts: they add up, and name neither patient nor file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from client.cohorts.aside import left_out
from client.cohorts.home import Home
from client.cohorts.overview import overview
from client.cohorts.rules import Rules
from client.dicom.outcomes import Outcome, hint_of
from tests.unit.cohorts.archives import labels_of, laid, picture, report, taken, volume


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Nine files: two volumes of two slices, one file twice, a report, and three that cannot be used."""
    folder = laid(tmp_path / "in", [*volume("Anna", slices=2), *volume("Berta", "2", slices=2)])
    laid(folder / "copy", volume("Berta", "2", slices=1))
    laid(folder / "rest", [report(), b"x", b"", picture("")])
    return folder


def test_counts_add_up(home: Home, archive: Path, tmp_path: Path) -> None:
    labels = labels_of(tmp_path / "l.csv", "Anna,1,train Berta,,test Carla,0,test")
    cohort = taken(home, archive, rules=Rules("slices"), labels=labels)
    found = overview(cohort, 0.5)
    assert found.files == {"seen": 9, "case": 4, "other": 1, "duplicate": 1, "quarantined": 3}
    assert found.quarantined == {"not-dicom": 1, "file-empty": 1, "patient-missing": 1}
    assert found.other == {"report": 1}
    assert found.pixels == {"with_pixels": 6, "decoded": 6}
    assert found.patients == 2 and found.fingerprint == cohort.row.fingerprint
    assert sum(count for labels in found.cases.values() for count in labels.values()) == 2
    assert found.cases["train"]["1"] == 1
    assert found.notes == {
        "cases without label": 1,
        "lines of labels without a case": 1,
        "lines of labels that are empty": 1,
    }
    assert found.trouble is None


def test_as_json(home: Home, archive: Path) -> None:
    document = json.loads(json.dumps(overview(taken(home, archive), 0.1).to_dict()))
    assert document["usable"] is False
    assert document["trouble"]["code"] == "cohort-held-back" and document["trouble"]["hint"]
    assert document["quarantined"]["file-empty"] == {"files": 1, "hint": hint_of("file-empty")}
    assert sum(document["files"][outcome] for outcome in Outcome) == document["files"]["seen"]
    assert not any(name in json.dumps(document) for name in ("Anna", "Berta", "IM0"))


def test_what_was_left_out_is_named_from_the_disk(home: Home, archive: Path) -> None:
    taken(home, archive, rules=Rules("slices"))
    items = left_out(home, "c", [archive])
    found = {Path(item.name).relative_to(archive).as_posix(): (item.outcome, item.why) for item in items}
    (twice,) = found.keys() & {"copy/IM0000", "IM0002"}  # either of the two
    assert found == {
        twice: ("duplicate", ""),
        "rest/IM0000": ("other", "report"),
        "rest/IM0001": ("quarantined", "not-dicom"),
        "rest/IM0002": ("quarantined", "file-empty"),
        "rest/IM0003": ("quarantined", "patient-missing"),
    }
    assert left_out(home, "c", [archive / "rest" / "IM0000"])[0].why == "report"
    assert left_out(home, "c", []) == []
