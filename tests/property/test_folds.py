"""Dealing patients to folds: nobody is lost, nobody is on both sides, and the test split stays away."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from client.cases import SiteCases
from client.folds import Fold
from client.manifest import Manifest, Row
from client.sources import CohortSource, Entry
from common.errors import TooFewCases
from deploy.federation import FederationData
from deploy.tuning.dealing import Dealing, deal_folds, deal_patients
from tests.conftest import small_study

# Of each site: patients by number (the same number is the same patient elsewhere), with label and pictures.
SITES = st.lists(
    st.dictionaries(st.integers(0, 40), st.tuples(st.sampled_from("012"), st.integers(1, 3)), min_size=2),
    min_size=1,
    max_size=4,
)
SPLITS = ("train", "val", "test")


def entry(patient: str, split: str, label: str, number: int) -> Entry:
    row = Row(f"{patient}-{number}.png", "", patient, split, label, number)
    return Entry(patient, split, label, f"manifest line {number}", row)


def federation(sites: list[dict[int, tuple[str, int]]], homes: list[str] | None = None) -> FederationData:
    cases = {}
    for number, patients in enumerate(sites):
        entries = [
            entry(f"p{patient}", "train", label, picture)
            for patient, (label, pictures) in patients.items()
            for picture in range(pictures)
        ]
        cases[f"site-{number}"] = SiteCases(tuple(entries), ())
    cohorts = {f"site-{n}": CohortSource(Path(home), "chest") for n, home in enumerate(homes or [])}
    return FederationData(cases, Manifest.of(Path("/"), []), cohorts)


def dealt(data: FederationData, folds: int, seed: int) -> Dealing:
    try:
        return deal_folds(data, folds, seed)
    except TooFewCases:
        assume(False)
        raise


@given(SITES, st.integers(2, 5), st.integers(0, 2**32))
def test_every_training_patient_is_in_one_fold_of_its_site(
    sites: list[dict[int, tuple[str, int]]], folds: int, seed: int
) -> None:
    dealing = dealt(federation(sites), folds, seed)
    assert list(dealing.sites) == [f"site-{n}" for n in range(len(sites))]
    for patients, held in zip(sites, dealing.sites.values(), strict=True):
        assert set(held) == {f"p{patient}" for patient in patients}
        assert set(held.values()) <= set(range(folds))
        assert len(set(held.values())) > 1  # somebody is left to train on, whichever fold is held out


@given(SITES, st.integers(2, 5), st.integers(0, 2**32))
def test_a_patient_of_two_sites_is_held_out_at_both(
    sites: list[dict[int, tuple[str, int]]], folds: int, seed: int
) -> None:
    found: dict[str, set[int]] = {}
    for held in dealt(federation(sites), folds, seed).sites.values():
        for patient, fold in held.items():
            found.setdefault(patient, set()).add(fold)
    assert all(len(of_patient) == 1 for of_patient in found.values())


@given(st.integers(2, 60), st.integers(2, 5), st.integers(0, 2**32), st.data())
def test_folds_are_even_and_so_are_their_labels(
    patients: int, folds: int, seed: int, draw: st.DataObject
) -> None:
    assume(patients >= folds)
    labels = draw.draw(st.lists(st.sampled_from("01"), min_size=patients, max_size=patients))
    data = federation([{number: (label, 1) for number, label in enumerate(labels)}])
    held = deal_folds(data, folds, seed).sites["site-0"]
    sizes = Counter(held.values())
    assert max(sizes.values()) - min(sizes.values()) <= 1
    for label in "01":
        shares = Counter(held[f"p{number}"] for number, own in enumerate(labels) if own == label)
        counts = [shares[fold] for fold in range(folds)]
        assert max(counts) - min(counts) <= 2


@given(SITES, st.integers(2, 4), st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(
    sites: list[dict[int, tuple[str, int]]], folds: int, seed: int, shuffle: object
) -> None:
    dealing = dealt(federation(sites), folds, seed)
    shuffled = []
    for patients in sites:
        items = list(patients.items())
        shuffle.shuffle(items)  # type: ignore[attr-defined]
        shuffled.append(dict(items))
    assert deal_folds(federation(shuffled), folds, seed).digest == dealing.digest


def test_another_seed_deals_otherwise() -> None:
    data = federation([{number: ("01"[number % 2], 1) for number in range(30)}])
    assert deal_folds(data, 3, 0).digest != deal_folds(data, 3, 1).digest


def test_one_name_in_two_homes_is_two_patients_and_in_one_home_one() -> None:
    sites = [dict.fromkeys(range(20), ("0", 1))] * 2
    one, two = (deal_folds(federation(sites, homes), 2, 0).sites for homes in (["/a", "/a"], ["/a", "/b"]))
    assert one["site-0"] == one["site-1"]
    assert two["site-0"] != two["site-1"]


def test_too_few_patients_are_named_by_site() -> None:
    with pytest.raises(TooFewCases, match="'site-1' has 1 training patients"):
        deal_folds(federation([{1: ("0", 1), 2: ("1", 1)}, {3: ("0", 4)}]), 2, 0)
    with pytest.raises(TooFewCases, match="5 folds"):
        deal_folds(federation([{1: ("0", 1), 2: ("1", 1)}]), 5, 0)


@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from(SPLITS)), min_size=1, max_size=40),
    st.integers(2, 4),
    st.sampled_from(["test", "val"]),
)
def test_in_a_fold_the_held_out_take_the_place_of_the_test_split(
    rows: list[tuple[int, str]], folds: int, tested: str
) -> None:
    split_of = dict(rows)  # a patient is in one split
    entries = tuple(entry(f"p{p}", split_of[p], "0", n) for n, (p, _) in enumerate(rows))
    held = {f"p{p}": p % folds for p, split in split_of.items() if split == "train"}
    study = small_study(data={"test_split": tested})
    with TemporaryDirectory() as folder:
        file = Path(folder) / "folds.json"
        file.write_text(json.dumps(held))
        for number in range(folds):
            found = Fold(file, number).applied(entries, study)
            trained = {e.item for e in found if e.split == "train"}
            seen = {e.item for e in found if e.split == tested}
            own = [e for e in entries if e.split == "train"]
            assert trained == {e.item for e in own if held[e.patient] != number}
            assert seen == {e.item for e in own if held[e.patient] == number}
            assert not any(e.split == tested and e.item in {f.item for f in found} for e in entries)


@given(SITES)
def test_one_patient_at_a_time_is_held_out_at_every_site_that_knows_the_patient(
    sites: list[dict[int, tuple[str, int]]],
) -> None:
    dealing = deal_patients(federation(sites))
    everyone = {f"p{patient}" for patients in sites for patient in patients}
    assert dealing.folds == len(everyone)
    of_fold: dict[int, set[str]] = {}
    for patients, held in zip(sites, dealing.sites.values(), strict=True):
        assert set(held) == {f"p{patient}" for patient in patients}
        for patient, fold in held.items():
            of_fold.setdefault(fold, set()).add(patient)
    assert sorted(of_fold) == list(range(dealing.folds))
    assert all(len(named) == 1 for named in of_fold.values())


def test_a_site_with_one_patient_may_be_dealt_where_it_need_not_train_in_every_fold() -> None:
    data = federation([{1: ("0", 1), 2: ("1", 1), 3: ("1", 1)}, {4: ("0", 4)}])
    assert len(deal_folds(data, 2, 0, all_train=False).sites["site-1"]) == 1
    with pytest.raises(TooFewCases, match="9 folds"):
        deal_folds(data, 9, 0, all_train=False)


@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from(SPLITS)), min_size=1, max_size=40),
    st.integers(2, 4),
    st.sampled_from(["test", "val"]),
)
def test_patients_of_the_test_split_who_were_dealt_train_wherever_they_are_not_held_out(
    rows: list[tuple[int, str]], folds: int, tested: str
) -> None:
    split_of = dict(rows)
    entries = tuple(entry(f"p{p}", split_of[p], "0", n) for n, (p, _) in enumerate(rows))
    held = {f"p{p}": p % folds for p, split in split_of.items() if split in ("train", tested)}
    study = small_study(data={"test_split": tested})
    with TemporaryDirectory() as folder:
        file = Path(folder) / "folds.json"
        file.write_text(json.dumps(held))
        for number in range(folds):
            found = Fold(file, number).applied(entries, study)
            dealt_items = {e.item: held[e.patient] for e in entries if e.split in ("train", tested)}
            trained = {e.item for e in found if e.split == "train"}
            seen = {e.item for e in found if e.split == tested}
            assert trained == {item for item, fold in dealt_items.items() if fold != number}
            assert seen == dealt_items.keys() - trained
