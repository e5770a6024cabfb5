"""Binomial tails are exact, and a rate's bound is beyond the rate as often as it says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.attack.binomial import at_least, lower_rate, masses, upper_rate

COUNTS = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
PROBABILITIES = st.floats(0.001, 0.999)


def summed(successes: int, trials: int, p: float) -> float:
    """The tail by its definition."""
    terms = (math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(successes, trials + 1))
    return math.fsum(terms)


@given(COUNTS, PROBABILITIES)
def test_the_tail_is_the_sum_of_its_terms(counts: tuple[int, int], p: float) -> None:
    successes, trials = counts
    assert at_least(successes, trials, p) == pytest.approx(summed(successes, trials, p), rel=1e-9)


def test_a_tail_has_its_ends() -> None:
    assert at_least(0, 5, 0.0) == at_least(5, 5, 1.0) == at_least(-1, 5, 0.3) == 1.0
    assert at_least(1, 5, 0.0) == at_least(6, 5, 0.9) == 0.0
    assert float(masses(20_000, 0.3).sum()) == pytest.approx(1.0, abs=1e-9)


@given(COUNTS, st.sampled_from([0.9, 0.95, 0.9999]))
def test_a_bound_is_where_the_tail_is_just_improbable(counts: tuple[int, int], confidence: float) -> None:
    successes, trials = counts
    upper, lower = upper_rate(successes, trials, confidence), lower_rate(successes, trials, confidence)
    assert lower <= successes / trials <= upper
    if successes < trials:
        assert 1 - at_least(successes + 1, trials, upper) == pytest.approx(1 - confidence, rel=1e-6)
    if successes:
        assert at_least(successes, trials, lower) == pytest.approx(1 - confidence, rel=1e-6)


def test_nothing_and_everything() -> None:
    assert upper_rate(0, 10, 0.95) == pytest.approx(1 - 0.05 ** (1 / 10))
    assert lower_rate(10, 10, 0.95) == pytest.approx(0.05 ** (1 / 10))
    assert upper_rate(10, 10, 0.95) == upper_rate(0, 0, 0.95) == 1.0
    assert lower_rate(0, 10, 0.95) == lower_rate(0, 0, 0.95) == 0.0


@given(COUNTS, PROBABILITIES)
def test_more_successes_raise_a_bound(counts: tuple[int, int], confidence: float) -> None:
    successes, trials = counts
    if successes < trials:
        assert upper_rate(successes, trials, confidence) <= upper_rate(successes + 1, trials, confidence)


@settings(max_examples=30)
@given(st.integers(1, 40), PROBABILITIES)
def test_it_covers_as_often_as_it_says(trials: int, p: float) -> None:
    # Exactly: the probability of all counts whose bound lies below the truth.
    missed = sum(upper_rate(k, trials, 0.95) < p for k in range(trials + 1))  # the smallest counts
    assert 1 - at_least(missed, trials, p) <= 0.05 + 1e-9
