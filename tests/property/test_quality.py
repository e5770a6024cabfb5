"""Laws of the quality report: counts add up, small cells stay hidden, every near pair is found."""

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from client.cohorts.quality import CaseFacts, CasePicture, FileCounts, Reference, assess, picture_of, summary
from client.cohorts.quality.counts import Dimension
from client.cohorts.quality.drift import Level, drift
from client.cohorts.quality.hamming import MOST_BITS, distances, pairs_within
from client.cohorts.quality.suppression import suppressed

M = 3
NAMES = st.sampled_from(["", "a", "b", "c"])
FACTS = st.builds(
    CaseFacts,
    case=st.uuids().map(str),
    patient=st.sampled_from("pqrstu"),
    split=st.sampled_from(["", "train", "val", "test"]),
    label=st.none() | NAMES,
    modality=NAMES,
    scanner=NAMES,
    year=st.none() | st.integers(2015, 2020),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 600), st.integers(1, 600)),
    spacing_mm=st.none() | st.tuples(*[st.none() | st.floats(0, 10)] * 3),
    findings=st.lists(st.sampled_from(["gap", "tilt"])).map(tuple),
    pixel_digests=st.lists(st.sampled_from("xyz"), max_size=2).map(tuple),
)
PICTURES = st.none() | st.integers(0, 5).map(
    lambda seed: picture_of(np.random.default_rng(seed).random((1 + seed % 2, 9, 8)).astype(np.float32))
)
COHORTS = st.lists(st.tuples(FACTS, PICTURES), max_size=30)
Cohort = list[tuple[CaseFacts, CasePicture | None]]


@given(COHORTS)
def test_counts_add_up(cases: Cohort) -> None:
    quality = assess(FileCounts(0), cases)
    counts = quality.counts
    assert counts.cases == len(cases)
    for dimension in Dimension:
        assert sum(cell.cases for cell in counts.by[dimension]) == counts.cases
        assert all(1 <= cell.patients <= min(cell.cases, counts.patients) for cell in counts.by[dimension])
    assert sum(counts.label_by_split.values()) == counts.cases
    assert sum(cases * patients for cases, patients in counts.cases_a_patient.items()) == counts.cases
    assert sum(counts.cases_a_patient.values()) == counts.patients
    assert sum(h.cases for h in quality.histograms) == quality.reference.pictured
    assert all(sum(h.shares) == pytest.approx(1) for h in quality.histograms)


@given(COHORTS)
def test_order_of_the_cases_changes_no_number(cases: Cohort) -> None:
    one, other = assess(FileCounts(0), cases), assess(FileCounts(0), cases[::-1])
    assert summary(one) == summary(other)
    assert one.look_alikes.extents == other.look_alikes.extents
    assert one.counts.by == other.counts.by and one.sizes == other.sizes


@given(COHORTS)
def test_nothing_has_moved_from_itself(cases: Cohort) -> None:
    reference = assess(FileCounts(0), cases).reference
    kept = Reference.of_json(reference.to_json())
    assert kept == reference
    assert all((shift.value, shift.level) == (0, Level.steady) for shift in drift(reference, kept).shifts)


@given(COHORTS, COHORTS)
def test_drift_is_the_same_both_ways(ours: Cohort, theirs: Cohort) -> None:
    one, other = (assess(FileCounts(0), cases).reference for cases in (ours, theirs))
    for there, back in zip(drift(one, other).shifts, drift(other, one).shifts, strict=True):
        assert there.value == pytest.approx(back.value) and there.value >= 0


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=4),
    st.sets(st.integers(0, 3)),
    st.sampled_from([0, 1]),
)
def test_a_small_cell_could_be_anything(numbers: list[int], few: set[int], least: int) -> None:
    """Who knows the total and every cell shown can still not tell what a small one holds."""
    assume(min(numbers) >= least)
    values = {str(i): number for i, number in enumerate(numbers)}
    small = {str(i) for i in few if i < len(numbers)}
    told = suppressed(values, M, small, least=least)
    if not told:
        return
    total = sum(numbers)
    choices = [
        [cell] if isinstance(cell, int) else list(range(M if cell == f">={M}" else least, total + 1))
        for cell in told.values()
    ]
    possible = [guess for guess in product(*choices) if sum(guess) == total]
    assert tuple(numbers) in possible
    for place, (name, cell) in enumerate(told.items()):
        if isinstance(cell, int):
            assert cell == values[name] >= M and name not in small
        elif cell == f"<{M}":
            # Even who takes every small cell for one of few cases.
            strict = [
                guess[place]
                for guess in possible
                if all(
                    guess[i] < M
                    for i, (other, c) in enumerate(told.items())
                    if c == f"<{M}" and values[other] < M
                )
            ]
            if values[name] < M:
                assert set(range(least, M)) <= set(strict)
            assert len(set(strict)) >= 2


@given(st.lists(st.integers(1, 12), min_size=2, max_size=3), st.sampled_from([0, 1]))
def test_who_knows_the_rule_learns_no_small_cell(numbers: list[int], least: int) -> None:
    """Of all tables with this total that would be told the same, small cells hold whatever they may."""
    minimum, names = 4, "abc"[: len(numbers)]
    told = suppressed(dict(zip(names, numbers, strict=True)), minimum, least=least)
    total = sum(numbers)
    others = (guess for guess in product(range(least, total + 1), repeat=len(numbers)) if sum(guess) == total)
    same = [
        guess
        for guess in others
        if suppressed(dict(zip(names, guess, strict=True)), minimum, least=least) == told
    ]
    for place, name in enumerate(names):
        if told.get(name) == f"<{minimum}":
            assert set(range(least, minimum - 1)) <= {guess[place] for guess in same}


@given(COHORTS, st.integers(1, 12))
def test_no_small_number_is_told(cases: Cohort, min_cell: int) -> None:
    told = summary(assess(FileCounts(0), cases), min_cell)
    cells = [c for table in told.values() for c in (table.values() if isinstance(table, dict) else [table])]
    assert all(cell >= min_cell for cell in cells if isinstance(cell, int))
    assert {cell for cell in cells if isinstance(cell, str)} <= {f"<{min_cell}", f">={min_cell}"}


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(0, MOST_BITS))
def test_every_near_pair_is_found_and_no_other(seed: int, number: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (4, 18), dtype=np.uint8)
    flips = rng.random((number, 144)) < rng.choice([0.0, 0.02, 0.05, 0.08], (number, 1))
    prints = base[rng.integers(0, 4, number)] ^ np.packbits(flips, axis=1)
    pairs, complete = pairs_within(prints, bits)
    everyone = np.array([(i, j) for i in range(number) for j in range(i + 1, number)], dtype=int)
    everyone = everyone.reshape(-1, 2)
    near = distances(prints[everyone[:, 0]], prints[everyone[:, 1]]) <= bits
    assert complete
    assert pairs.tolist() == everyone[near].tolist()


@given(st.binary(min_size=18, max_size=18), st.binary(min_size=18, max_size=18))
def test_distance_is_the_number_of_bits_that_differ(one: bytes, other: bytes) -> None:
    a, b = (np.frombuffer(code, dtype=np.uint8)[None] for code in (one, other))
    expected = (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()
    assert distances(a, b).tolist() == [expected]
