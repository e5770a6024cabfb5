"""Lower bounds stay below the truth as often as they say, and rise with an attack's success only."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.attack.bounds import (
    Errors,
    Guesses,
    epsilon_of_errors,
    epsilon_of_guesses,
    guessing_chance,
    mu_of_errors,
    mu_of_guesses,
)
from deploy.attack.trade_off import epsilon_of_mu

CONFIDENCE = 0.95
NORMAL = NormalDist()


def guessing(rng: np.random.Generator, mu: float, canaries: int, made: int) -> Guesses:
    """One experiment: each canary in or out by a coin, seen through noise, the clearest guessed."""
    inside = rng.integers(0, 2, canaries)
    order = np.argsort(rng.normal(size=canaries) + mu * inside)
    right = (inside[order[: made // 2]] == 0).sum() + (inside[order[canaries - made // 2 :]] == 1).sum()
    return Guesses(canaries, made, int(right))


@pytest.mark.parametrize("mu", [0.2, 1.0, 2.5])
def test_a_threshold_shows_at_most_the_true_mu(mu: float) -> None:
    rng, runs, n = np.random.default_rng(1), 200, 400
    rates = NORMAL.cdf(-mu / 2 - 0.2), NORMAL.cdf(-mu / 2 + 0.2)
    found = [
        mu_of_errors(Errors(int(rng.binomial(n, rates[0])), n, int(rng.binomial(n, rates[1])), n), CONFIDENCE)
        for _ in range(runs)
    ]
    assert sum(bound > mu for bound in found) <= (1 - CONFIDENCE) * runs
    assert np.mean(found) > mu - 0.35  # and it is no idle bound


def test_many_observations_show_nearly_all_of_mu() -> None:
    n = 20_000
    wrong = round(n * NORMAL.cdf(-0.5))
    assert 0.95 < mu_of_errors(Errors(wrong, n, wrong, n), CONFIDENCE) < 1.0


@pytest.mark.parametrize(("mu", "delta"), [(0.5, 1e-5), (1.0, 1e-3), (3.0, 1e-2)])
def test_errors_show_at_most_the_true_epsilon(mu: float, delta: float) -> None:
    rng, runs, n = np.random.default_rng(2), 200, 300
    epsilon, threshold = epsilon_of_mu(mu, delta), mu / 2 + 1.0
    rates = NORMAL.cdf(-threshold), NORMAL.cdf(threshold - mu)
    found = [
        epsilon_of_errors(
            Errors(int(rng.binomial(n, rates[0])), n, int(rng.binomial(n, rates[1])), n), delta, CONFIDENCE
        )
        for _ in range(runs)
    ]
    assert sum(bound > epsilon for bound in found) <= (1 - CONFIDENCE) * runs


@pytest.mark.parametrize(("mu", "canaries", "made"), [(0.5, 40, 10), (1.0, 64, 32), (2.0, 64, 64)])
def test_guesses_show_at_most_the_true_mu_and_epsilon(mu: float, canaries: int, made: int) -> None:
    rng, runs, delta = np.random.default_rng(3), 100, 1e-3
    seen = [guessing(rng, mu, canaries, made) for _ in range(runs)]
    over_mu = sum(mu_of_guesses(guesses, CONFIDENCE) > mu for guesses in seen)
    over_epsilon = sum(
        epsilon_of_guesses(guesses, delta, CONFIDENCE) > epsilon_of_mu(mu, delta) for guesses in seen
    )
    assert max(over_mu, over_epsilon) <= (1 - CONFIDENCE) * runs


def test_guesses_of_randomised_response_show_nearly_its_epsilon() -> None:
    # The mechanism that Steinke et al.'s bound is exact for: each canary's bit is told, true with probability
    # e^epsilon / (e^epsilon + 1).
    rng, epsilon, m = np.random.default_rng(4), 1.0, 2000
    likely = 1 / (1 + math.exp(-epsilon))
    found = [
        epsilon_of_guesses(Guesses(m, m, int(rng.binomial(m, likely))), 0.0, CONFIDENCE) for _ in range(40)
    ]
    assert sum(bound > epsilon for bound in found) <= 4
    assert np.mean(found) > 0.85


def test_guesses_against_figures_worked_out_by_hand() -> None:
    # 10 of 10 right without delta: q^10 = 0.05.
    q = 0.05**0.1
    assert epsilon_of_guesses(Guesses(10, 10, 10), 0.0, CONFIDENCE) == pytest.approx(math.log(q / (1 - q)))
    # 2 of 2 right of 3: P[W >= 2] = q^2; max(P[W = 1] / 1, (P[W = 1] + P[W = 0]) / 2).
    q, delta = 1 / (1 + math.exp(-0.7)), 0.01
    slope = max(2 * q * (1 - q), (2 * q * (1 - q) + (1 - q) ** 2) / 2)
    assert guessing_chance(Guesses(3, 2, 2), 0.7, delta) == pytest.approx(q**2 + 2 * 3 * delta * slope)


COUNTS = st.integers(1, 80).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n)))


@settings(max_examples=30)
@given(COUNTS, st.integers(0, 20), st.sampled_from([0.0, 1e-5, 1e-2]), st.sampled_from([0.95, 0.9999]))
def test_one_more_right_guess_never_shows_less(
    counts: tuple[int, int], silent: int, delta: float, confidence: float
) -> None:
    right, made = counts
    less, more = (Guesses(made + silent, made, right + k) for k in (0, 1))
    tolerance = 1e-9
    assert (
        epsilon_of_guesses(more, delta, confidence) >= epsilon_of_guesses(less, delta, confidence) - tolerance
    )
    assert mu_of_guesses(more, confidence) >= mu_of_guesses(less, confidence) - tolerance


@settings(max_examples=30)
@given(COUNTS, COUNTS, st.sampled_from([0.0, 1e-2]))
def test_one_more_error_never_shows_more(
    alarms: tuple[int, int], missed: tuple[int, int], delta: float
) -> None:
    fewer = Errors(*alarms, *missed)
    for more in (Errors(alarms[0] + 1, alarms[1], *missed), Errors(*alarms, missed[0] + 1, missed[1])):
        assert mu_of_errors(more, CONFIDENCE) <= mu_of_errors(fewer, CONFIDENCE)
        assert epsilon_of_errors(more, delta, CONFIDENCE) <= epsilon_of_errors(fewer, delta, CONFIDENCE)


@settings(max_examples=30)
@given(COUNTS, st.sampled_from([1e-5, 1e-2]))
def test_more_confidence_shows_less(counts: tuple[int, int], delta: float) -> None:
    right, made = counts
    guesses, errors = Guesses(made, made, right), Errors(right, made, right, made)
    assert epsilon_of_guesses(guesses, delta, 0.9999) <= epsilon_of_guesses(guesses, delta, 0.95)
    assert mu_of_guesses(guesses, 0.9999) <= mu_of_guesses(guesses, 0.95) + 1e-9
    assert mu_of_errors(errors, 0.9999) <= mu_of_errors(errors, 0.95)
    assert epsilon_of_errors(errors, delta, 0.9999) <= epsilon_of_errors(errors, delta, 0.95)


def test_nothing_seen_shows_nothing_and_everything_seen_is_finite() -> None:
    for errors in (Errors(0, 0, 0, 0), Errors(10, 10, 0, 10), Errors(0, 10, 10, 10), Errors(5, 10, 5, 10)):
        assert mu_of_errors(errors, CONFIDENCE) == epsilon_of_errors(errors, 1e-5, CONFIDENCE) == 0.0
    perfect = Errors(0, 10, 0, 10)
    assert (
        0.5 < mu_of_errors(perfect, CONFIDENCE) < 10 and 0 < epsilon_of_errors(perfect, 0.0, CONFIDENCE) < 10
    )
    for guesses in (Guesses(10, 0, 0), Guesses(10, 10, 0), Guesses(10, 10, 5)):
        assert mu_of_guesses(guesses, CONFIDENCE) == epsilon_of_guesses(guesses, 1e-5, CONFIDENCE) == 0.0
    assert 1 < mu_of_guesses(Guesses(10_000, 10_000, 10_000), CONFIDENCE) < 20
    assert 1 < epsilon_of_guesses(Guesses(10_000, 10_000, 10_000), 1e-9, CONFIDENCE) < 20
