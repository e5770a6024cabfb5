"""Cases that show the same picture are found, and what is wrong with that is named."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from client.cohorts.quality import CaseFacts, CasePicture, FileCounts, assess, picture_of
from client.cohorts.quality.copies import copies
from client.cohorts.quality.gathered import Cases
from client.cohorts.quality.hamming import MOST_BITS, pairs_within
from client.cohorts.quality.lookalikes import Issue, LookAlikes


def picture(seed: int, brightness: float = 1.0) -> CasePicture:
    coarse = np.random.default_rng(seed).random((16, 16)).astype(np.float32)
    image = Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)
    return picture_of(np.clip(np.asarray(image), 0, 1)[None] * np.float32(brightness))


def facts(case: str, **changes: object) -> CaseFacts:
    return replace(CaseFacts(case, f"patient of {case}", "train", "0"), **changes)  # type: ignore[arg-type]


def found(cases: Cases) -> LookAlikes:
    return assess(FileCounts(0), cases).look_alikes


def issues(one: CaseFacts, other: CaseFacts, seeds: tuple[int, int] = (1, 1)) -> tuple[Issue, ...]:
    pairs = found([(one, picture(seeds[0])), (other, picture(seeds[1], 0.9))]).pairs
    return pairs[0].issues if pairs else ()


def test_a_copy_in_another_split() -> None:
    same = facts("b", split="test", patient="patient of a")
    assert issues(facts("a"), same) == (Issue.two_splits,)


def test_a_copy_under_another_patient_with_another_label() -> None:
    assert issues(facts("a"), facts("b", label="1")) == (Issue.two_patients, Issue.two_labels)


def test_two_looks_at_one_patient_are_no_fault() -> None:
    assert issues(facts("a"), facts("b", patient="patient of a", label="1")) == ()


def test_other_pictures_are_no_look_alikes() -> None:
    assert issues(facts("a"), facts("b", split="test"), (1, 2)) == ()


def test_a_case_without_split_or_label_differs_from_none() -> None:
    assert issues(facts("a"), facts("b", patient="patient of a", split="", label=None)) == ()


def test_the_same_pixels_are_found_without_looking() -> None:
    one = facts("a", pixel_digests=("x", "y"))
    other = facts("b", pixel_digests=("y", "x"), patient=one.patient, label="1")
    alike = found([(one, picture(1)), (other, None)])
    assert [(p.same_pixels, p.issues) for p in alike.pairs] == [(True, (Issue.two_labels,))]
    extent = alike.extents[Issue.two_labels]
    assert (extent.pairs, extent.same_pairs, extent.cases, extent.patients) == (1, 1, 2, 1)


def test_the_same_pixels_twice_are_repeated() -> None:
    one = facts("a", pixel_digests=("x",))
    pairs = found([(one, None), (replace(one, case="b"), None)]).pairs
    assert [pair.issues for pair in pairs] == [(Issue.repeated,)]


def test_a_pair_that_is_the_same_and_looks_the_same_is_named_once() -> None:
    one = facts("a", pixel_digests=("x",))
    alike = found([(one, picture(1)), (replace(one, case="b", patient="other"), picture(1))])
    assert [(pair.same_pixels, pair.likeness) for pair in alike.pairs] == [(True, 1.0)]


def test_blank_pictures_are_not_copies_of_each_other() -> None:
    blank = picture_of(np.zeros((1, 32, 32), dtype=np.float32))
    assert found([(facts(str(i)), blank) for i in range(50)]).pairs == ()


def test_copies_share_half_of_the_shorter_case() -> None:
    digests = [["a", "b", "c", "d"], ["c", "d", "e", "f", "g", "h"], ["d", "x", "y"], [], []]
    pairs, complete = copies(digests, 100)
    assert (pairs.tolist(), complete) == ([[0, 1]], True)


def test_a_blank_slice_in_many_cases_makes_no_copies() -> None:
    pairs, _ = copies([["blank", f"own {i}"] for i in range(30)], 1000)
    assert len(pairs) == 0


def test_copies_end_at_the_limit() -> None:
    pairs, complete = copies([["a"]] * 5, 7)
    assert (len(pairs), complete) == (7, False)
    assert copies([["a"]] * 5, 10)[1]


def test_the_search_ends_at_the_limit() -> None:
    prints = np.zeros((40, 18), dtype=np.uint8)
    pairs, complete = pairs_within(prints, 3, most=100)
    assert (len(pairs), complete) == (100, False)
    pairs, complete = pairs_within(prints, 3)
    assert (len(pairs), complete) == (40 * 39 // 2, True)


def test_the_search_refuses_what_it_cannot_promise() -> None:
    with pytest.raises(ValueError, match="0 to 12 bits"):
        pairs_within(np.zeros((2, 18), dtype=np.uint8), MOST_BITS + 1)


def test_planted_copies_of_real_pictures_are_found_and_nothing_else(data_folder: Path) -> None:
    with (data_folder / "manifest_images.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["site"] == "nihcc"][:250]
    cases = []
    for row in rows:
        pixels = np.asarray(Image.open(data_folder / row["path"]).convert("L"), dtype=np.float32)[None] / 255
        known = CaseFacts(row["sha256"], row["patient_id"], row["split"], row["label"])
        cases.append((known, picture_of(pixels)))
        if len(cases) % 50 == 1:
            grain = np.random.default_rng(len(cases)).normal(0, 0.02, pixels.shape).astype(np.float32)
            known = replace(known, case=f"copy of {known.case}", patient=f"other {known.patient}")
            cases.append((known, picture_of(pixels[:, ::2, ::2] * np.float32(0.9) + grain[:, ::2, ::2])))
    pairs = {(pair.first.case, pair.second.case) for pair in found(cases).pairs}
    planted = [known.case for known, _ in cases if known.case.startswith("copy of")]
    assert len(planted) == 6
    assert pairs == {(case.removeprefix("copy of "), case) for case in planted}
