"""From stored objects to cases: copies, contradictions, sequences, labels and splits."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from client.cohorts.assembly import DUPLICATE, TAKEN, Assembly
from client.cohorts.case import fingerprint
from client.cohorts.catalogue import StoredImage
from client.cohorts.labels import Labels
from client.cohorts.rules import Rules
from client.dicom.outcomes import Kind, Outcome, Reason
from client.dicom.pixels import Display, Window
from client.dicom.place import Frame
from tests.unit.cohorts.stored import assembled, frame, labelled, stored

SLICES, FRAMES = Rules("slices"), Rules("frames")


def volume(
    first: int, slices: int = 3, series: str = "1", patient: str = "P-A", same_as: int | None = None
) -> list[StoredImage]:
    """A volume whose files count from ``first``; its pixels may be those of another one."""
    pixels = first if same_as is None else same_as
    return [
        stored(
            first + n, [frame(n + 1, 2.0 * n)], series=series, patient=patient, digest=f"pixels-{pixels + n}"
        )
        for n in range(slices)
    ]


def digests(assembly: Assembly) -> list[list[str]]:
    return [[piece.blob for piece in draft.case.content.pieces] for draft in assembly.drafts]


# Which objects count


def test_every_picture_is_a_case() -> None:
    found = assembled([stored(1, [frame(1, part=n) for n in (1, 2)]), stored(2)])
    assert digests(found) == [["pixels-1"], ["pixels-1"], ["pixels-2"]]
    assert [draft.case.content.pieces[0].frame for draft in found.drafts] == [0, 1, 0]
    assert found.outcomes == {1: TAKEN, 2: TAKEN}
    assert len({draft.case.name for draft in found.drafts}) == 3


def test_the_same_object_twice_is_a_duplicate() -> None:
    found = assembled([stored(1, sop="s", digest="d"), stored(2, sop="s", digest="d"), stored(3)])
    assert sorted(found.outcomes.values()) == [TAKEN, TAKEN, DUPLICATE]
    assert len(found.drafts) == 2


def test_one_name_for_two_pictures_is_a_contradiction() -> None:
    """Three files, two of them alike: which picture is the right one cannot be said."""
    images = [stored(1, sop="s", digest="d"), stored(2, sop="s", digest="d"), stored(3, sop="s"), stored(4)]
    found = assembled(images)
    conflict = (Outcome.quarantined, Reason.conflict)
    assert found.outcomes == {1: conflict, 2: conflict, 3: conflict, 4: TAKEN}
    assert digests(found) == [["pixels-4"]]


@pytest.mark.parametrize("rules", [Rules(), SLICES], ids=["rows", "slices"])
def test_a_series_that_was_sent_on_under_new_names_is_one(rules: Rules) -> None:
    """The copy's names would come first for some slices and last for others."""
    images = volume(0, 6) + [
        replace(image, instance=replace(image.instance, sop=f"{'ab'[n % 2]}{n}-copy"))
        for n, image in enumerate(volume(10, 6, series="2", same_as=0))
    ]
    found = assembled(images, rules)
    ways = {
        series: {found.outcomes[i.file] for i in images if i.instance.series == series} for series in "12"
    }
    assert sorted(map(sorted, ways.values())) == [[TAKEN], [DUPLICATE]]
    assert sum(map(len, digests(found))) == 6
    assert len(found.drafts) == (1 if rules is SLICES else 6)


def test_a_part_of_a_series_that_was_sent_on_does_not_tear_it() -> None:
    images = [*volume(0, 5, series="b"), *volume(10, 3, series="a", same_as=0), *volume(20, 1, series="c")]
    found = assembled(images, SLICES)
    assert sorted(map(len, digests(found))) == [1, 5]
    assert {found.outcomes[file] for file in (10, 11, 12)} == {DUPLICATE}


def test_series_that_share_a_blank_slice_both_keep_it() -> None:
    images = [*volume(0, 5, series="b"), *volume(10, 3, series="a")]
    blank = [replace(image, digest="blank") if image.file in (0, 10) else image for image in images]
    found = assembled(blank, SLICES)
    assert sorted(map(len, digests(found))) == [3, 5] and set(found.outcomes.values()) == {TAKEN}


def test_the_same_values_on_another_scale_are_another_picture() -> None:
    images = [stored(n, [frame(1)], series=str(n), digest="d", display=Display(n + 1.0)) for n in range(2)]
    assert set(assembled(images).outcomes.values()) == {TAKEN}
    windows = [Display(window=Window(40.0, width)) for width in (80.0, 400.0)]
    images = [stored(n, [frame(1)], series=str(n), digest="d", display=d) for n, d in enumerate(windows)]
    assert sorted(assembled(images).outcomes.values()) == [TAKEN, DUPLICATE]


def test_what_looks_the_same_is_no_copy_elsewhere() -> None:
    """In the same series, of another patient, or at another place."""
    same = [
        stored(1, [frame(1, 0.0)], digest="black"),
        stored(2, [frame(2, 2.0)], digest="black"),
        stored(3, [frame(1, 0.0)], digest="black", series="2", patient="P-B"),
        stored(4, [frame(1, 9.0)], digest="black", series="3"),
    ]
    assert set(assembled(same).outcomes.values()) == {TAKEN}


def test_what_only_the_name_of_its_stack_tells_apart_is_a_copy() -> None:
    """Where a picture has no place, its own UID stands in the stack's name."""
    frames = [Frame(stack="one", number=(1, 1)), Frame(stack="other", number=(1, 1))]
    images = [stored(n, [f], series=str(n), digest="d") for n, f in enumerate(frames)]
    assert sorted(assembled(images).outcomes.values()) == [TAKEN, DUPLICATE]


# Sequences


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_slices_stand_in_their_order(order: tuple[int, ...]) -> None:
    images = volume(0)
    found = assembled([images[n] for n in order], SLICES)
    assert digests(found) == [["pixels-0", "pixels-1", "pixels-2"]]
    content = found.drafts[0].case.content
    assert content.spacing_mm == (2.0, 0.5, 0.75)
    assert content.sources == ("source-0", "source-1", "source-2")
    assert (content.modality, content.scanner, content.year) == ("CT", "Siemens ABCD", 2019)
    assert len(found.drafts[0].planes) == 3 and found.drafts[0].shape == (6, 8)


def moments() -> list[StoredImage]:
    """Two moments of three slices."""
    return [
        stored(3 * t + n, [frame(3 * t + n + 1, 2.0 * n, (float(t),))]) for t in range(2) for n in range(3)
    ]


def test_a_volume_of_each_moment_or_a_film_of_each_place() -> None:
    volumes, films = assembled(moments(), SLICES), assembled(moments(), FRAMES)
    assert digests(volumes) == [[f"pixels-{3 * t + n}" for n in range(3)] for t in range(2)]
    assert digests(films) == [[f"pixels-{3 * t + n}" for t in range(2)] for n in range(3)]
    assert films.drafts[0].case.content.spacing_mm == (None, 0.5, 0.75)  # its steps are no mm apart
    assert set(volumes.outcomes.values()) == set(films.outcomes.values()) == {TAKEN}


def test_a_volume_is_no_film_and_a_film_no_volume() -> None:
    film = stored(9, [frame(1, time=(33.0 * n,), part=n + 1) for n in range(3)], series="film")
    alone = stored(10, series="alone")  # may stand for either
    unwanted = (Outcome.other, Kind.unwanted)
    as_slices, as_frames = (assembled([*volume(0), film, alone], rules) for rules in (SLICES, FRAMES))
    assert as_slices.outcomes == {0: TAKEN, 1: TAKEN, 2: TAKEN, 9: unwanted, 10: TAKEN}
    assert as_frames.outcomes == {0: unwanted, 1: unwanted, 2: unwanted, 9: TAKEN, 10: TAKEN}


def test_slices_of_another_rescale_keep_it() -> None:
    """As PET has them: a slope for every slice, the same one for two of them."""
    displays = [Display(slope=0.5), Display(slope=0.25), Display(slope=0.5)]
    images = [stored(n, [frame(n + 1, 2.0 * n)], display=displays[n]) for n in range(3)]
    content = assembled(images, SLICES).drafts[0].case.content
    assert [content.displays[piece.display] for piece in content.pieces] == displays
    assert len(content.displays) == 2


def test_a_slice_that_stands_there_twice_costs_one_file_and_not_the_series() -> None:
    twice = stored(9, [frame(2, 2.0)])
    found = assembled([*volume(0), twice], SLICES)
    assert sum(map(len, digests(found))) == 3
    assert sorted(found.outcomes) == [0, 1, 2, 9]
    assert "duplicate" in {str(outcome) for outcome, _ in found.outcomes.values()}


def test_series_of_two_patients_do_not_mix() -> None:
    found = assembled([*volume(0, 2, patient="P-A"), *volume(10, 2, patient="P-B")], SLICES)
    assert [(draft.case.patient, len(draft.sops)) for draft in found.drafts] == [("P-A", 2), ("P-B", 2)]


def test_a_slice_that_arrives_later_does_not_rename_the_case() -> None:
    images = volume(0, 4)
    whole, part = assembled(images, SLICES), assembled(images[:3], SLICES)
    assert whole.drafts[0].case.name == part.drafts[0].case.name
    assert whole.drafts[0].case.digest != part.drafts[0].case.digest


def test_cases_know_since_when_they_are_as_they_are() -> None:
    before = {
        case.name: case for case in assembled([*volume(0), *volume(10, series="2")], SLICES).cases({}, 1)
    }
    now = assembled([*volume(0), *volume(10, 4, series="2"), *volume(20, series="3")], SLICES).cases(
        before, 2
    )
    assert sorted((len(case.content.pieces), case.intake) for case in now) == [(3, 1), (3, 2), (4, 2)]


def test_the_fingerprint_is_of_what_training_sees() -> None:
    def of(images: list[StoredImage], labels: Labels | None = None) -> str:
        found = assembled(images, SLICES, labels) if labels else assembled(images, SLICES)
        return fingerprint(found.cases({}, 1))

    images = volume(0)
    assert of(images) == of([replace(i, id=i.id + 5, file=i.file + 5) for i in images])
    other_file = [
        replace(i, instance=replace(i.instance, source="x", scanner="y", year=1, sex="F", age="65+"))
        for i in images
    ]
    assert of(images) == of(other_file)
    darker = [replace(i, display=Display(slope=2.0)) for i in images]
    elsewhere = [replace(i, instance=replace(i.instance, modality="MR")) for i in images]
    one_label = labelled({("patient", "P-A"): ("1", None)})
    other_split = labelled({("patient", "P-A"): ("1", "test")})
    found = {
        of(images),
        of(darker),
        of(elsewhere),
        of(images[:2]),
        of(images, one_label),
        of(images, other_split),
    }
    assert len(found) == 6


# Labels and splits


def said(assembly: Assembly) -> list[tuple[str, str | None]]:
    return [(draft.case.split, draft.case.label) for draft in assembly.drafts]


@pytest.mark.parametrize(
    "key",
    [("patient", "P-A"), ("study", "study-of-P-A"), ("series", "1"), ("sop", "sop-1")],
    ids=lambda k: k[0],
)
def test_labels_of_every_level(key: tuple[str, str]) -> None:
    labels = labelled({key: ("ill", "val"), ("patient", "P-B"): ("well", None)})  # type: ignore[dict-item]
    found = assembled([stored(0), stored(1), stored(2, patient="P-B", series="2")], labels=labels)
    named = "ill" if key[0] != "sop" else None
    assert said(found) == [("val", named), ("val", "ill"), ("train", "well")]
    assert found.notes == ({"cases without label": 1} if named is None else {})


def test_one_split_for_all_that_a_patient_has() -> None:
    """Also for the pictures that the table does not name."""
    found = assembled([stored(0), stored(1, series="2")], labels=labelled({("series", "2"): ("1", "test")}))
    assert said(found) == [("test", None), ("test", "1")]


def test_a_patient_in_two_splits_gets_no_label() -> None:
    labels = labelled(
        {("sop", "sop-0"): ("1", "train"), ("sop", "sop-1"): ("1", "test"), ("patient", "P-B"): ("0", "test")}
    )
    found = assembled([stored(0), stored(1), stored(2), stored(3, patient="P-B")], labels=labels)
    assert said(found) == [("train", None)] * 3 + [("test", "0")]
    assert found.notes == {"cases of patients in several splits": 3, "cases without label": 3}


def test_slices_with_several_labels_make_no_case_of_any() -> None:
    labels = labelled({("sop", "sop-0"): ("1", None), ("sop", "sop-1"): ("0", None)})
    found = assembled(volume(0), SLICES, labels)
    assert said(found) == [("train", None)]
    assert found.notes == {"cases with several labels": 1, "cases without label": 1}
    same = labelled({("sop", "sop-0"): ("1", None), ("sop", "sop-1"): ("1", None)})
    assert said(assembled(volume(0), SLICES, same)) == [("train", "1")]


def test_labels_that_belong_to_nothing_are_counted() -> None:
    labels = labelled(
        {("patient", "P-A"): ("1", None), ("patient", "P-Z"): ("0", None), ("sop", "?"): ("0", None)}
    )
    more = replace(labels, conflicts=((7, 8), (9, 10)), unlabelled=(11,))
    assert assembled([stored(0)], labels=more).notes == {
        "lines of labels without a case": 2,
        "lines of labels that contradict each other": 4,
        "lines of labels that are empty": 1,
    }


def test_patients_are_drawn_for_testing_where_the_labels_do_not_say() -> None:
    images = [stored(n, patient=f"P-{n}", series=str(n)) for n in range(4)]
    share = {"P-0": 0.0, "P-1": 0.19, "P-2": 0.2, "P-3": 0.99}
    labels = labelled({("patient", "P-0"): ("1", "train")})
    assert [split for split, _ in said(assembled(images, share=share))] == ["test", "test", "train", "train"]
    assert said(assembled(images, labels=labels, share=share))[0] == ("train", "1")
    assert {split for split, _ in said(assembled(images, Rules(test_share=0), share=share))} == {"train"}
    assert {split for split, _ in said(assembled(images, Rules(test_share=1), share=share))} == {"test"}
