"""Dealing the patients of one site to several loses nobody and splits nobody."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.manifest import Row
from deploy.federation import deal

PATIENTS = st.lists(
    st.tuples(st.sampled_from(["train", "val", "test"]), st.sampled_from("012"), st.integers(1, 3)),
    min_size=1,
    max_size=60,
)
quick = settings(max_examples=80, deadline=None)


def rows_of(patients: list[tuple[str, str, int]]) -> list[Row]:
    """Each patient's pictures, of one split; the label may differ from picture to picture."""
    return [
        Row(f"{patient}-{k}.png", "all", f"p{patient:03d}", split, str((int(label) + k) % 3), patient)
        for patient, (split, label, pictures) in enumerate(patients)
        for k in range(pictures)
    ]


def homes(rows: list[Row]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        found[row.patient_id].add(row.site)
    return found


@quick
@given(PATIENTS, st.integers(1, 12), st.integers(0, 2**32), st.booleans())
def test_every_patient_is_at_one_site_with_all_that_is_theirs(
    patients: list[tuple[str, str, int]], sites: int, seed: int, skewed: bool
) -> None:
    rows = rows_of(patients)
    dealt = deal(rows, sites, seed, skewed=skewed)
    strip = lambda row: (row.path, row.patient_id, row.split, row.label, row.line)  # noqa: E731
    assert list(map(strip, dealt)) == list(map(strip, rows))
    assert all(len(where) == 1 for where in homes(dealt).values())
    width = len(str(sites))
    assert {row.site for row in dealt} <= {f"site-{n:0{width}d}" for n in range(1, sites + 1)}


@quick
@given(PATIENTS, st.integers(1, 12), st.integers(0, 2**32), st.booleans())
def test_no_site_is_left_without_a_split_that_has_patients_enough(
    patients: list[tuple[str, str, int]], sites: int, seed: int, skewed: bool
) -> None:
    dealt = deal(rows_of(patients), sites, seed, skewed=skewed)
    for split in {split for split, _, _ in patients}:
        number = sum(1 for other, _, _ in patients if other == split)
        having = {row.site for row in dealt if row.split == split}
        assert len(having) >= min(sites, number) if number >= sites else len(having) == number


@quick
@given(PATIENTS, st.integers(2, 6), st.integers(0, 2**32), st.booleans())
def test_the_same_seed_deals_the_same(
    patients: list[tuple[str, str, int]], sites: int, seed: int, skewed: bool
) -> None:
    rows = rows_of(patients)
    assert deal(rows, sites, seed, skewed=skewed) == deal(rows, sites, seed, skewed=skewed)


@quick
@given(PATIENTS, st.integers(2, 6), st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_the_order_of_patients_in_the_manifest_does_not_matter(
    patients: list[tuple[str, str, int]], sites: int, seed: int, shuffle: object
) -> None:
    rows = rows_of([(split, label, 1) for split, label, _ in patients])
    shuffled = list(rows)
    shuffle.shuffle(shuffled)  # type: ignore[attr-defined]
    assert homes(deal(rows, sites, seed, skewed=True)) == homes(deal(shuffled, sites, seed, skewed=True))


@pytest.mark.parametrize("skewed", [True, False])
def test_another_seed_deals_otherwise(skewed: bool) -> None:
    rows = rows_of([("train", str(n % 2), 1) for n in range(60)])
    assert homes(deal(rows, 3, 1, skewed=skewed)) != homes(deal(rows, 3, 2, skewed=skewed))


@quick
@given(st.integers(2, 9), st.integers(0, 2**32), st.integers(1, 5))
def test_even_shares_differ_by_no_more_than_the_classes_there_are(sites: int, seed: int, times: int) -> None:
    rows = rows_of([("train", str(n % 3), 1) for n in range(sites * times * 3)])
    counts: dict[str, int] = defaultdict(int)
    for row in deal(rows, sites, seed, skewed=False):
        counts[row.site] += 1
    assert max(counts.values()) - min(counts.values()) <= 2 * 3
