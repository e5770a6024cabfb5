"""Epsilon is that of the exact formula where there is one, and never too small where a method fails."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from common.errors import PrivacyUnreachable
from common.private.accounting import (
    LEAST_NOISE,
    MOST_KINDS,
    Accountant,
    epsilon_of,
    exceeds,
    noise_multiplier_for,
)
from common.private.event import Event


def analytic_epsilon(noise_multiplier: float, delta: float) -> float:
    """Of one Gaussian release: Balle and Wang 2018, Thm. 8, solved by halving."""

    def phi(x: float) -> float:
        return 0.5 * math.erfc(-x / math.sqrt(2))

    def delta_of(epsilon: float) -> float:
        a, b = 0.5 / noise_multiplier, epsilon * noise_multiplier
        return phi(a - b) - math.exp(epsilon) * phi(-a - b)

    low, high = 0.0, 200.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle) > delta else (low, middle)
    return high


@pytest.mark.parametrize(
    ("noise", "steps", "delta"), [(0.3, 1, 1e-3), (1.0, 1, 1e-5), (5.0, 10, 1e-4), (60.0, 3, 1e-6)]
)
def test_a_release_about_all_units_costs_what_the_analytic_gaussian_costs(
    noise: float, steps: int, delta: float
) -> None:
    expected = analytic_epsilon(noise / math.sqrt(steps), delta)
    assert epsilon_of([Event(noise, 1.0, steps)], delta, "prv") == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("accountant", ["prv", "rdp"])
def test_what_spends_nothing_costs_nothing(accountant: Accountant) -> None:
    for events in ([], [Event(1.0, 0.1, 0)], [Event(1.0, 0.0, 10)]):
        assert epsilon_of(events, 1e-5, accountant) == 0
        assert not exceeds(events, 1e-9, 1e-5, accountant)


@pytest.mark.parametrize(
    "event",
    [
        Event(0.01, 0.1, 10),  # losses in the tens of thousands
        Event(0.05, 0.9999999, 100),
        Event(1.0, 0.5, 10**7),  # a grid of more points than memory holds
        Event(0.02, 1e-6, 10),
    ],
)
def test_where_prv_fails_the_renyi_bound_stands(event: Event) -> None:
    epsilon = epsilon_of([event], 1e-9, "prv")
    assert epsilon == epsilon_of([event], 1e-9, "rdp")
    assert 100 < epsilon < math.inf


@pytest.mark.parametrize("noise", [0.0, 1e-200])
@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_no_noise_is_no_privacy(noise: float, rate: float) -> None:
    assert epsilon_of([Event(noise, rate, 1), Event(1.0, 0.1, 1)], 1e-5, "prv") == math.inf


def test_very_many_kinds_of_event_are_added_up_by_the_renyi_accountant() -> None:
    events = [Event(50 + kind, 1e-3, 1) for kind in range(MOST_KINDS + 1)]
    assert epsilon_of(events, 1e-5, "prv") == epsilon_of(events, 1e-5, "rdp")


@pytest.mark.parametrize("accountant", ["prv", "rdp"])
def test_exceeding_is_costing_more(accountant: Accountant) -> None:
    events = [Event(1.3, 0.2, 50)]
    epsilon = epsilon_of(events, 1e-4, accountant)
    assert exceeds(events, epsilon * 0.999, 1e-4, accountant)
    assert not exceeds(events, epsilon, 1e-4, accountant)


def test_a_delta_that_is_no_probability_is_refused() -> None:
    for delta in (0.0, 1.0, -0.1):
        with pytest.raises(ValueError, match="delta"):
            epsilon_of([Event(1.0, 0.1, 1)], delta, "rdp")


@pytest.mark.parametrize(
    ("target", "delta", "rate", "steps", "accountant"),
    [
        (2.0, 1e-3, 0.1, 50, "prv"),
        (1.0, 1e-4, 0.05, 200, "prv"),
        (3.0, 1e-4, 0.01, 200, "rdp"),
        (2.0, 1e-3, 1.0, 10, "prv"),
    ],
)
def test_the_noise_for_a_target_spends_it_and_no_more(
    target: float, delta: float, rate: float, steps: int, accountant: Accountant
) -> None:
    noise = noise_multiplier_for(target, delta, rate, steps, accountant)
    assert 0.99 * target <= epsilon_of([Event(noise, rate, steps)], delta, accountant) <= target


def test_a_target_out_of_reach_is_refused() -> None:
    with pytest.raises(PrivacyUnreachable, match="noise multiplier above 1000"):
        noise_multiplier_for(0.01, 1e-6, 1.0, 10**6, "prv")


def test_a_target_that_costs_no_noise_gets_the_least() -> None:
    assert noise_multiplier_for(1.0, 1e-5, 0.1, 0, "prv") == LEAST_NOISE
    assert noise_multiplier_for(1e5, 1e-3, 0.1, 1, "rdp") == LEAST_NOISE


def test_a_ledger_can_be_read_without_torch() -> None:
    code = "import sys, common.private.accounting; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
