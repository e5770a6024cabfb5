"""Whole intakes: of anything, in any order, in any number of runs."""

from __future__ import annotations

import os
import random
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from client.cohorts.cohort import open_cohort
from client.cohorts.home import Home
from client.cohorts.intake import Request, Tally, take_in
from client.cohorts.labels import SPLITS
from client.cohorts.rules import Rules
from client.cohorts.store import PIXEL_FILE
from common.errors import (
    CohortDiffers,
    CohortUnsuitable,
    HomeBusy,
    LabelsInvalid,
    NothingFound,
)
from tests.unit.cohorts.archives import (
    EXPECTED,
    copied,
    hospital,
    labels_of,
    laid,
    new_home,
    outcomes,
    picture,
    report,
    same,
    slice_at,
    taken,
    volume,
    whole,
)

SLICES = Rules("slices")


# What becomes of files


def test_every_file_ends_in_one_way(home: Home, tmp_path: Path) -> None:
    archive = laid(tmp_path / "in", hospital())
    cohort = taken(home, archive, rules=SLICES)
    assert outcomes(cohort) == EXPECTED
    assert cohort.seen == sum(EXPECTED.values()) == len(list(archive.iterdir()))
    assert sorted(len(case.content.pieces) for case in cohort.cases) == [2, 3, 4]
    cohort.verify(cohort.cases)
    whole(home, "c")


KINDS: dict[str, Callable[[int], Dataset | bytes]] = {
    "slice": lambda n: slice_at(2.0 * (n % 4), f"P{n % 3}", str(n % 2), n % 4 + 1),
    "copy": lambda n: copied(slice_at(2.0 * (n % 4), f"P{n % 3}", str(n % 2), n % 4 + 1), "copy"),
    "conflict": lambda n: slice_at(
        2.0 * (n % 4), f"P{n % 3}", str(n % 2), n % 4 + 1, pixels=picture(str(n)).pixel_array
    ),
    "nobody": lambda n: picture("", str(n)),
    "nameless": lambda n: picture("P", str(n), StudyInstanceUID=""),
    "report": lambda n: report(f"P{n}"),
    "localiser": lambda n: picture(f"P{n % 3}", "scout", n, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    "letter": lambda n: b"a letter %d" % n,
    "nothing": lambda n: b"",
    "cut off": lambda n: picture(f"P{n % 3}", "cut", n, PixelData=b"\0\0"),
    "written on": lambda n: picture(f"P{n % 3}", "us", n, BurnedInAnnotation="YES"),
}
FILES = st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.integers(0, 7)), min_size=1, max_size=14)


@settings(max_examples=12)
@given(FILES, st.sampled_from(["rows", "slices", "frames"]), st.randoms(use_true_random=False))
def test_any_mixture_adds_up_in_any_order_and_in_any_number_of_runs(
    files: list[tuple[str, int]], sequence: Any, chance: random.Random
) -> None:
    rules = Rules(sequence)
    with TemporaryDirectory() as name:
        folder = Path(name)
        home = new_home(folder / "home")
        objects = [KINDS[kind](number) for kind, number in files]
        at_once = taken(home, laid(folder / "a", objects), rules=rules)
        assert at_once.seen == len(files) == sum(outcomes(at_once).values())
        assert {"quarantined:patient-missing": sum(kind == "nobody" for kind, _ in files)}.items() <= {
            **dict.fromkeys(["quarantined:patient-missing"], 0),
            **outcomes(at_once),
        }.items()
        shuffled = chance.sample(objects, len(objects))
        cut = chance.randint(1, len(objects))
        other = laid(folder / "b", shuffled[:cut])
        taken(home, other, name="d", rules=rules)
        laid(other, shuffled[cut:], prefix="later")
        same(at_once, taken(home, other, name="d", rules=rules))
        splits: dict[str, set[str]] = {}
        for case in at_once.cases:
            splits.setdefault(case.patient, set()).add(case.split)
        assert all(len(each) == 1 and each <= set(SPLITS) for each in splits.values())
        at_once.verify(at_once.cases)
        whole(home, "d")


def test_archives_links_and_companions_count_as_well(home: Home, tmp_path: Path) -> None:
    archive = laid(tmp_path / "in", volume("Anna", slices=4))
    with zipfile.ZipFile(archive / "more.zip", "w") as packed:
        packed.write(archive / "IM0002", "x/IM0002")
        packed.writestr("Thumbs.db", b"x")
    (archive / "IM0002").unlink()
    with tarfile.open(archive / "rest.tar.gz", "w:gz") as tar:
        tar.add(archive / "IM0003", "y/IM0003")
    (archive / "IM0003").unlink()
    (archive / "link").symlink_to(archive / "IM0000")
    (archive / "nowhere").symlink_to(archive / "absent")
    cohort = taken(home, archive, rules=SLICES)
    found = {"case": 4, "duplicate": 1, "other:companion": 1, "quarantined:file-unreadable": 1}
    assert outcomes(cohort) == found
    (case,) = cohort.cases
    assert len(case.content.pieces) == 4
    same(cohort, taken(home, archive, rules=SLICES))


def test_the_same_folder_named_twice_is_taken_once(home: Home, tmp_path: Path) -> None:
    archive = laid(tmp_path / "in", [picture("Anna"), picture("Berta")])
    cohort = taken(home, archive, archive / "IM0000", archive)
    assert len(cohort.cases) == 2 and outcomes(cohort)["case"] == 2


# Several runs


def test_a_second_run_takes_only_what_is_new(home: Home, tmp_path: Path, seen: list[str]) -> None:
    archive = laid(tmp_path / "in", hospital())
    first = taken(home, archive, rules=SLICES)
    assert len(seen) == first.seen
    seen.clear()
    size = (home.cohort_folder("c") / PIXEL_FILE).stat().st_size
    again = taken(home, archive, rules=SLICES)
    assert seen == []
    same(first, again)
    assert (home.cohort_folder("c") / PIXEL_FILE).stat().st_size == size
    laid(archive / "new", volume("Dora", slices=2))
    later = taken(home, archive, rules=SLICES)
    assert seen == ["IM0000", "IM0001"] and later.seen == first.seen + 2
    assert Counter(case.intake for case in later.cases) == {1: 3, 3: 1}


def test_it_is_told_how_far_it_has_come(home: Home, tmp_path: Path) -> None:
    archive, told = laid(tmp_path / "in", hospital()), list[Tally]()
    request = Request("c", (archive,), SLICES)
    take_in(
        home,
        request,
        lambda tally: told.append(Tally(tally.found, tally.known, tally.done, tally.quarantined)),
    )
    assert told[0] == Tally(found=20) and told[-1] == Tally(20, 0, 20, 3)
    assert [tally.done for tally in told] == list(range(21))
    told.clear()
    take_in(home, request, lambda tally: told.append(tally))
    assert told[-1] == Tally(20, 20, 20, 0)


def test_a_file_that_changed_is_taken_again(home: Home, tmp_path: Path, seen: list[str]) -> None:
    archive = laid(tmp_path / "in", [picture("Anna"), picture("Berta"), b"half a file"])
    before = taken(home, archive)
    seen.clear()
    laid(archive, [picture("Anna", pixels=np.zeros((6, 8), dtype=np.uint16))])
    picture("Carla").save_as(archive / "IM0002", enforce_file_format=True)
    os.utime(archive / "IM0000", ns=(0, 1))
    after = taken(home, archive)
    assert sorted(seen) == ["IM0000", "IM0002"]
    assert outcomes(after) == {"case": 3}
    assert len(after.cases) == 3
    anna = home.pseudonyms.patient("Anna")
    pictures = {case.patient: after.pictures(case)[0][0] for case in after.cases}
    assert not pictures[anna].any() and pictures[home.pseudonyms.patient("Berta")].any()
    assert {case.patient: case.intake for case in after.cases}[anna] == 2
    assert before.row.fingerprint != after.row.fingerprint


def test_a_file_that_is_gone_from_the_archive_stays_in_the_cohort(home: Home, tmp_path: Path) -> None:
    archive = laid(tmp_path / "in", [picture("Anna"), picture("Berta")])
    before = taken(home, archive)
    (archive / "IM0000").unlink()
    same(before, taken(home, archive))


@pytest.mark.parametrize("at", [1, 5, 12])
def test_an_interrupted_run_goes_on_where_it_stopped(
    home: Home, tmp_path: Path, seen: list[str], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    archive = laid(tmp_path / "in", hospital())
    at_once = taken(home, archive, name="whole", rules=SLICES)
    seen.clear()

    def ctrl_c(tally: Tally) -> None:
        if tally.done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_in(home, Request("c", (archive,), SLICES), ctrl_c)
    whole(home, "c")
    with pytest.raises(CohortUnsuitable):
        open_cohort(home, "c").require_usable(1.0)
    seen.clear()
    after = taken(home, archive, rules=SLICES)
    assert len(seen) == at_once.seen - at
    same(at_once, after)
    assert after.row.intakes == 1 and {case.intake for case in after.cases} == {1}


def test_other_rules_are_another_cohort(home: Home, tmp_path: Path, seen: list[str]) -> None:
    archive = laid(tmp_path / "in", [picture("Anna")])
    before = taken(home, archive)
    others = [
        Rules("slices"),
        Rules(modalities=("CT",)),
        Rules(keep_derived=True),
        Rules(test_share=0.3),
    ]
    words = [
        "sequence was rows, is slices",
        "modalities",
        "keep_derived was False, is True",
        "is 0.3",
    ]
    seen.clear()
    for rules, word in zip(others, words, strict=True):
        with pytest.raises(CohortDiffers, match=word):
            taken(home, archive, rules=rules)
    assert not seen and open_cohort(home, "c").row == before.row


def test_pictures_held_back_for_writing_are_looked_at_again_once_a_person_has(
    home: Home, tmp_path: Path, seen: list[str]
) -> None:
    held = picture("Anna", "film", BurnedInAnnotation="YES")
    archive = laid(tmp_path / "in", [held, picture("Berta")])
    before = outcomes(taken(home, archive))
    assert before["quarantined:burned-in-text"] == 1
    seen.clear()
    after = outcomes(taken(home, archive, rules=Rules(allow_burned_in=True)))
    assert len(seen) == 1 and after["case"] == 2
    with pytest.raises(CohortDiffers, match="allow_burned_in was True, is False"):
        taken(home, archive)


def test_one_instance_of_two_patients_belongs_to_neither(home: Home, tmp_path: Path) -> None:
    first, second = picture("Anna", "film"), picture("Anna", "film")
    second.PatientID = "Berta"
    found = outcomes(taken(home, laid(tmp_path / "in", [first, second])))
    assert found == {"quarantined:instance-conflict": 2}


def test_two_links_to_one_folder_are_one_folder(home: Home, tmp_path: Path) -> None:
    laid(tmp_path / "in", [picture("Anna")])
    links = [tmp_path / name for name in ("a", "b")]
    for link in links:
        link.symlink_to(tmp_path / "in")
    cohort = take_in(home, Request("c", tuple(links), Rules()))
    assert outcomes(open_cohort(home, cohort.name))["case"] == 1


def test_two_at_once_are_one_too_many(home: Home, tmp_path: Path) -> None:
    archive = laid(tmp_path / "in", [picture("Anna")])

    def meanwhile(tally: Tally) -> None:
        with pytest.raises(HomeBusy):
            taken(home, archive)

    take_in(home, Request("c", (archive,), Rules()), meanwhile)
    assert len(open_cohort(home, "c").cases) == 1


@pytest.mark.parametrize("what", ["absent", "empty", "labels"])
def test_what_cannot_begin_changes_nothing(home: Home, tmp_path: Path, what: str) -> None:
    archive = laid(tmp_path / "in", [picture("Anna")])
    before = taken(home, archive)
    (tmp_path / "empty").mkdir()
    (tmp_path / "l.csv").write_text("nonsense\n")
    with pytest.raises(LabelsInvalid if what == "labels" else NothingFound):
        taken(
            home,
            archive if what == "labels" else tmp_path / what,
            labels=tmp_path / "l.csv" if what == "labels" else None,
        )
    after = open_cohort(home, "c")
    assert after.row == before.row and after.row.ready


# Labels and masks of later runs


def test_labels_stay_until_others_take_their_place(home: Home, tmp_path: Path) -> None:
    archive = laid(tmp_path / "in", [picture("Anna"), picture("Berta")])
    table = labels_of(tmp_path / "l.csv", "Anna,1,test Berta,,train Zoe,0,test Yan,1,test Yan,0,test")
    first = taken(home, archive, labels=table)
    assert first.row.notes == {
        "cases without label": 1,
        "lines of labels that contradict each other": 2,
        "lines of labels that are empty": 1,
        "lines of labels without a case": 1,
    }
    laid(archive, [picture("Zoe")], prefix="later")
    second = taken(home, archive)
    said = {case.patient: (case.label, case.split) for case in second.cases}
    names = home.pseudonyms
    assert said[names.patient("Anna")] == ("1", "test") and said[names.patient("Zoe")] == ("0", "test")
    assert second.row.notes == {
        "cases without label": 1,
        "lines of labels that contradict each other": 2,
        "lines of labels that are empty": 1,
    }
    third = taken(home, archive, labels=labels_of(table, "Anna,0,train"))
    assert {case.label for case in third.cases} == {"0", None}
    assert third.row.notes == {"cases without label": 2}


def test_masks_may_be_named_later(home: Home, tmp_path: Path, seen: list[str]) -> None:
    """Even where the files were seen before, as objects of no use."""
    archive = laid(tmp_path / "in", [*volume("Anna"), *volume("Berta")])
    masks = archive / "masks"
    masks.mkdir()
    labels = np.zeros((8, 6, 3), dtype=np.uint8)
    labels[1, 2, 0], labels[3, 4, 2] = 1, 2
    affine = np.array([[-0.75, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 2.0, 0], [0, 0, 0, 1]])
    image: Any = nibabel.Nifti1Image(labels, affine)  # type: ignore[no-untyped-call]
    image.set_sform(affine, code=1)
    nibabel.save(image, masks / "Anna.nii.gz")
    first = taken(home, archive, rules=SLICES)
    assert outcomes(first) == {"case": 6, "quarantined:not-dicom": 1}
    seen.clear()
    second = taken(home, archive, rules=SLICES, masks=(masks,))
    assert seen == ["Anna.nii.gz"] and outcomes(second)["case"] == 7
    by_patient = {case.patient: second.mask(case) for case in second.cases}
    mask = by_patient[home.pseudonyms.patient("Anna")]
    assert mask is not None and mask.shape == (3, 6, 8)
    assert np.argwhere(mask).tolist() == [[0, 2, 1], [2, 4, 3]] and mask[2, 4, 3] == 2
    assert by_patient[home.pseudonyms.patient("Berta")] is None
    seen.clear()
    third = taken(home, archive, rules=SLICES)  # --masks left away
    assert not seen and third.row.fingerprint == second.row.fingerprint
