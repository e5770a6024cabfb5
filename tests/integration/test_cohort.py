"""A cohort that is opened: its pictures, whether it may be used, and what is broken in it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from sqlalchemy import create_engine, text

from client.cohorts.cohort import Cohort, find_cohort, open_cohort, open_cohorts
from client.cohorts.home import Home
from client.cohorts.removal import remove_cohort
from client.cohorts.rules import Rules
from client.cohorts.store import PIXEL_FILE
from client.dicom.decoding.display import brightness
from common.errors import CaseCorrupt, CohortEmpty, CohortHeldBack, CohortUnknown, CohortUnsuitable
from tests.unit.cohorts.archives import labels_of, laid, picture, slice_at, taken, values, volume

SLICES = Rules("slices")
PATIENTS = ("A", "B", "C")


@pytest.fixture
def cohort(home: Home, tmp_path: Path) -> Cohort:
    """Three patients with one picture each."""
    archive = laid(tmp_path / "in", [picture(patient) for patient in PATIENTS])
    return taken(home, archive, labels=labels_of(tmp_path / "l.csv", "A,1,train B,0,train C,1,test"))


def spoil(home: Home, cohort: Cohort, name: str, at: int = 0) -> None:
    """Change one byte of a case's pixels."""
    (case,) = (case for case in cohort.cases if case.name == name)
    blob = cohort.store._blobs[case.content.pieces[0].blob]
    path = home.cohort_folder("c") / PIXEL_FILE
    data = bytearray(path.read_bytes())
    data[blob.offset + at] ^= 1
    path.write_bytes(data)


# Its pictures


def test_single_pictures_come_as_they_are_stored(home: Home, cohort: Cohort) -> None:
    found = {}
    for case in cohort.cases:
        frames, display = cohort.pictures(case)
        assert len(frames) == 1 and display.slope == 1
        found[case.patient] = frames[0]
    for patient in PATIENTS:
        assert np.array_equal(found[home.pseudonyms.patient(patient)], values(patient, "1", 1))


def test_slices_of_several_files_come_in_their_order(home: Home, tmp_path: Path) -> None:
    cohort = taken(home, laid(tmp_path / "in", volume(slices=4)[::-1]), rules=SLICES)
    frames, _ = cohort.pictures(cohort.cases[0])
    assert [np.array_equal(frames[n], values("A", "1", n + 1)) for n in range(4)] == [True] * 4
    assert cohort.cases[0].content.spacing_mm == (2.0, 0.5, 0.75)


def test_frames_of_one_object_come_as_one_view(home: Home, tmp_path: Path) -> None:
    frames = values("film", shape=(5, 6, 8))
    film = picture(
        pixels=frames, NumberOfFrames=5, Modality="XA", FrameTime=40, FrameIncrementPointer=0x00181063
    )
    cohort = taken(home, laid(tmp_path / "in", [film]), rules=Rules("frames"))
    found, _ = cohort.pictures(cohort.cases[0])
    assert isinstance(found, np.ndarray) and np.array_equal(found, frames)
    assert np.shares_memory(found, cohort.store.array(cohort.cases[0].content.pieces[0].blob))


def pet(slopes: list[float]) -> list[Dataset]:
    """Slices of activity, which the scanner rescales each by itself to use all bits."""
    return [
        slice_at(
            2.0 * n, number=n + 1, Modality="PT", RescaleSlope=slope, RescaleIntercept=-n, RescaleType="BQML"
        )
        for n, slope in enumerate(slopes)
    ]


def test_slices_of_another_rescale_come_as_modality_values(home: Home, tmp_path: Path) -> None:
    cohort = taken(home, laid(tmp_path / "in", pet([0.5, 0.25, 0.5])), rules=SLICES)
    (case,) = cohort.cases
    frames, display = cohort.pictures(case)
    assert (display.slope, display.intercept) == (1.0, 0.0)
    for n, slope in enumerate([0.5, 0.25, 0.5]):
        expected = values("A", "1", n + 1) * np.float32(slope) - np.float32(n)
        assert frames[n].dtype == np.float32
        np.testing.assert_array_equal(frames[n], expected)


def test_what_is_equally_bright_looks_so_whatever_its_rescale(home: Home, tmp_path: Path) -> None:
    """The same activity, stored once with slope 1 and once with a slope for each slice."""
    plain, own = list[Dataset](), list[Dataset]()
    for n, factor in enumerate([1, 2, 4]):
        activity = values("activity", n) // 4 * 4
        one = slice_at(
            2.0 * n, "A", "1", n + 1, pixels=activity, Modality="PT", RescaleSlope=1, RescaleIntercept=0
        )
        other = slice_at(
            2.0 * n,
            "A",
            "2",
            n + 1,
            pixels=activity // factor,
            Modality="PT",
            RescaleSlope=factor,
            RescaleIntercept=0,
        )
        plain.append(one)
        own.append(other)
    cohort = taken(home, laid(tmp_path / "in", [*plain, *own]), rules=SLICES)
    first, second = (
        brightness(np.asarray(frames), display) for frames, display in map(cohort.pictures, cohort.cases)
    )
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert first.std() > 0.1


# Whether it may be used


def test_a_whole_cohort_may_be_used(cohort: Cohort) -> None:
    cohort.require_usable(0.0)
    cohort.verify(cohort.cases)


def test_an_interrupted_intake_may_not(home: Home, cohort: Cohort) -> None:
    broken = replace(cohort, row=replace(cohort.row, ready=False))
    with pytest.raises(CohortUnsuitable, match="interrupted"):
        broken.require_usable(1.0)


def test_a_cohort_without_labels_may_not(home: Home, tmp_path: Path) -> None:
    cohort = taken(home, laid(tmp_path / "in", [picture()]))
    with pytest.raises(CohortEmpty, match="no case of 1 in cohort 'c' has a label"):
        cohort.require_usable(1.0)


@pytest.mark.parametrize(("limit", "usable"), [(0.24, False), (0.25, True), (1.0, True)])
def test_too_much_quarantine_holds_a_cohort_back(
    home: Home, tmp_path: Path, limit: float, usable: bool
) -> None:
    archive = laid(tmp_path / "in", [*(picture(patient) for patient in PATIENTS), b"no DICOM"])
    cohort = taken(home, archive, labels=labels_of(tmp_path / "l.csv", "A,1,train"))
    assert (cohort.seen, cohort.quarantine_share) == (4, 0.25)
    if usable:
        cohort.require_usable(limit)
        return
    with pytest.raises(CohortHeldBack, match=r"1 of the 4 files.*25%.*24%"):
        cohort.require_usable(limit)


# What is broken


def test_one_byte_names_the_case(home: Home, cohort: Cohort) -> None:
    broken = sorted(case.name for case in cohort.cases)[1]
    spoil(home, cohort, broken)
    again = open_cohort(home, "c")
    with pytest.raises(CaseCorrupt) as caught:
        again.verify(again.cases)
    assert broken in caught.value.private
    others = [case for case in again.cases if case.name != broken]
    assert not any(case.name in caught.value.private for case in others)
    again.verify(others)


def test_many_broken_cases_are_counted(home: Home, tmp_path: Path) -> None:
    cohort = taken(home, laid(tmp_path / "in", [picture(number=n) for n in range(13)]))
    path = home.cohort_folder("c") / PIXEL_FILE
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(CaseCorrupt, match="and 3 more"):
        open_cohort(home, "c").verify(cohort.cases)


def test_a_broken_mask_is_a_broken_case(home: Home, cohort: Cohort) -> None:
    case = cohort.cases[0]
    gone = replace(case, content=replace(case.content, mask="e" * 64))
    with pytest.raises(CaseCorrupt, match=case.name):
        cohort.verify([gone])


@pytest.mark.parametrize("left", [None, 0, 100])
def test_pixels_that_are_cut_off(home: Home, cohort: Cohort, tmp_path: Path, left: int | None) -> None:
    path = home.cohort_folder("c") / PIXEL_FILE
    path.unlink() if left is None else os.truncate(path, left)
    for call in (
        lambda: open_cohort(home, "c"),
        lambda: open_cohorts(home),
        lambda: taken(home, tmp_path / "in"),
    ):
        with pytest.raises(CaseCorrupt):
            call()
    assert find_cohort(home, "c").name == "c"
    assert remove_cohort(home, "c") == 3  # what its hint says can be done


def test_a_cohort_that_is_not_there(home: Home) -> None:
    for call in (open_cohort, find_cohort, remove_cohort):
        with pytest.raises(CohortUnknown, match="none yet"):
            call(home, "c")
    assert open_cohorts(home) == []


# Letting go of it


def test_nothing_is_left_of_a_cohort(home: Home, cohort: Cohort, tmp_path: Path) -> None:
    taken(home, laid(tmp_path / "other", [picture("D")]), name="kept")
    secrets = {value for case in cohort.cases for value in (case.name, case.patient, case.digest)}
    assert any(secret.encode() in home.database.read_bytes() for secret in secrets)
    assert remove_cohort(home, "c") == 3
    assert [row.row.name for row in open_cohorts(home)] == ["kept"]
    assert not home.cohort_folder("c").exists()
    content = b"".join(path.read_bytes() for path in home.folder.rglob("*") if path.is_file())
    assert not [secret for secret in secrets if secret.encode() in content]
    engine = create_engine(f"sqlite:///{home.database}")
    with engine.connect() as connection:
        for table in ("file", "blob", "image", "label", '"case"', "portrait"):
            left = connection.execute(text(f"SELECT DISTINCT cohort FROM {table}")).scalars().all()
            assert cohort.row.id not in left
    engine.dispose()


def test_a_cohort_that_was_removed_can_be_taken_in_anew(home: Home, cohort: Cohort, tmp_path: Path) -> None:
    remove_cohort(home, "c")
    again = taken(home, tmp_path / "in", labels=tmp_path / "l.csv", rules=Rules())
    assert again.row.fingerprint == cohort.row.fingerprint
