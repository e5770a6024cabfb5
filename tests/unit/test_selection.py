"""Which sites train in a round is a function of seed and round, and never nobody."""

from __future__ import annotations

import random
from collections import Counter
from secrets import SystemRandom

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.selection import poisson_sample, select_sites

NAMES = [f"site-{number:02d}" for number in range(20)]


@settings(max_examples=60, deadline=None)
@given(
    sites=st.lists(st.sampled_from(NAMES), unique=True, min_size=1),
    fraction=st.floats(0.01, 1.0),
    at_least=st.integers(1, 25),
    seed=st.integers(0, 2**63),
    round_number=st.integers(1, 1000),
)
def test_a_sample_is_seeded_sorted_and_never_empty(
    sites: list[str], fraction: float, at_least: int, seed: int, round_number: int
) -> None:
    chosen = select_sites(sites, fraction, at_least, seed, round_number)
    assert chosen == sorted(set(chosen)) and set(chosen) <= set(sites)
    assert len(chosen) >= min(len(sites), max(1, at_least))
    assert fraction * len(sites) - 1e-6 <= len(chosen)
    assert chosen == select_sites(sites[::-1], fraction, at_least, seed, round_number)


@pytest.mark.parametrize(
    ("fraction", "at_least", "count"),
    [(1.0, 1, 20), (0.5, 1, 10), (0.01, 1, 1), (0.01, 3, 3), (0.51, 2, 11), (0.15, 1, 3), (0.2, 30, 20)],
)
def test_a_fraction_is_rounded_up(fraction: float, at_least: int, count: int) -> None:
    assert len(select_sites(NAMES, fraction, at_least, 0, 1)) == count


@pytest.mark.parametrize(("fraction", "sites", "count"), [(0.28, 25, 7), (0.07, 100, 7), (0.14, 50, 7)])
def test_a_fraction_that_comes_out_even_is_not_rounded_up(fraction: float, sites: int, count: int) -> None:
    assert len(select_sites([f"s{number}" for number in range(sites)], fraction, 1, 0, 1)) == count


def test_nobody_there_is_nobody_chosen() -> None:
    assert select_sites([], 0.5, 2, 0, 1) == []


def test_every_site_has_its_turn() -> None:
    samples = [select_sites(NAMES, 0.25, 1, 7, number) for number in range(1, 61)]
    assert {site for sample in samples for site in sample} == set(NAMES)
    assert len({tuple(sample) for sample in samples}) > 50


def test_another_seed_chooses_others() -> None:
    assert [select_sites(NAMES, 0.5, 1, 1, n) for n in range(5)] != [
        select_sites(NAMES, 0.5, 1, 2, n) for n in range(5)
    ]


# Poisson samples


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_each_site_is_in_a_poisson_sample_by_itself(rate: float) -> None:
    source, draws = random.Random(1), 4000
    samples = [poisson_sample(NAMES[:4], rate, source) for _ in range(draws)]
    assert all(sample == sorted(sample) for sample in samples)
    alone = Counter(site for sample in samples for site in sample)
    both = sum({NAMES[0], NAMES[1]} <= set(sample) for sample in samples)
    # Five standard deviations of a share of 4000 draws are at most 0.04.
    assert all(alone[site] / draws == pytest.approx(rate, abs=0.04) for site in NAMES[:4])
    assert both / draws == pytest.approx(rate**2, abs=0.04)
    assert sum(not sample for sample in samples) / draws == pytest.approx((1 - rate) ** 4, abs=0.04)


def test_a_rate_of_one_is_everybody_and_nobody_there_is_nobody() -> None:
    assert poisson_sample(reversed(NAMES), 1.0, SystemRandom()) == NAMES
    assert poisson_sample([], 0.5, SystemRandom()) == []


def test_a_secret_sample_cannot_be_had_again() -> None:
    many = [f"site-{number}" for number in range(200)]
    random.seed(0)
    first = poisson_sample(many, 0.5, SystemRandom())
    random.seed(0)
    assert poisson_sample(many, 0.5, SystemRandom()) != first
