"""Gaussian differential privacy against its definition and an independent accountant's figures."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.attack.trade_off import delta_of, epsilon_of_mu, fewest_false_alarms, quantile, separation

MUS = st.floats(0.05, 8.0)


@given(st.floats(0.05, 4.0), st.floats(-1.0, 3.0))
def test_a_threshold_between_two_gaussians_shows_their_distance(mu: float, threshold: float) -> None:
    normal = NormalDist()
    false_alarms, misses = normal.cdf(-threshold), normal.cdf(threshold - mu)
    assert separation(false_alarms, misses) == pytest.approx(mu, abs=1e-6)
    assert fewest_false_alarms(1 - misses, mu) == pytest.approx(false_alarms, rel=1e-6)


def test_a_test_that_tells_nothing_shows_nothing() -> None:
    assert separation(0.5, 0.5) == 0.0
    assert separation(0.9, 0.9) == 0.0  # worse than a coin
    assert separation(1.0, 0.0) == separation(1.0, 0.3) == separation(0.2, 1.0) == 0.0


def test_ends_of_the_quantile() -> None:
    assert quantile(0.0) == -math.inf and quantile(1.0) == math.inf
    assert fewest_false_alarms(0.0, 1.0) == 0.0 and fewest_false_alarms(1.0, 1.0) == 1.0


@pytest.mark.parametrize(
    ("mu", "delta", "epsilon"),
    [
        (0.1, 1e-3, 0.19753397323969582),
        (0.5, 1e-5, 1.9930914044151198),
        (1.0, 1e-5, 4.377178095681137),
        (2.0, 1e-2, 5.997892529818919),
        (5.0, 1e-6, 35.56634371413622),
        (20.0, 1e-5, 284.39184949774256),
    ],
)
def test_epsilon_is_that_of_an_independent_accountant(mu: float, delta: float, epsilon: float) -> None:
    # dp-accounting 0.7, get_epsilon_gaussian(1 / mu, delta)
    assert epsilon_of_mu(mu, delta) == pytest.approx(epsilon, rel=1e-9)


@given(MUS, st.sampled_from([1e-6, 1e-4, 1e-2]))
def test_epsilon_is_where_delta_comes_down(mu: float, delta: float) -> None:
    epsilon = epsilon_of_mu(mu, delta)
    if epsilon:
        assert delta_of(epsilon, mu) == pytest.approx(delta, rel=1e-4)
    else:
        assert delta_of(0.0, mu) <= delta
    assert epsilon_of_mu(mu * 1.1, delta) >= epsilon


def test_no_separation_is_no_epsilon() -> None:
    assert epsilon_of_mu(0.0, 1e-5) == 0.0
    assert epsilon_of_mu(40.0, 1e-5) > 900  # no overflow on the way
