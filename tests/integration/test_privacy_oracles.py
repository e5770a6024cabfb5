"""Epsilon is that of Google's dp-accounting, wherever Consilium states one."""

from __future__ import annotations

from pathlib import Path

import pytest
from dp_accounting import DpEvent, GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from common.private.accounting import epsilon_of
from common.private.event import Event
from server.site_privacy import SiteMechanism
from tests.unit.ledger.benches import Bench, make_task

GRID = [
    (0.8, 0.1, 100, 1e-3),
    (1.0, 0.01, 3000, 1e-5),
    (1.3, 0.2, 50, 1e-4),
    (3.0, 0.5, 20, 1e-4),
    (4.0, 0.1, 100, 1e-6),
    (12.0, 0.25, 40, 1e-4),
]


def google_event(event: Event) -> DpEvent:
    return SelfComposedDpEvent(
        PoissonSampledDpEvent(event.sample_rate, GaussianDpEvent(event.noise_multiplier)), event.steps
    )


def google_epsilon(accountant: PLDAccountant | RdpAccountant, events: list[Event], delta: float) -> float:
    for event in events:
        accountant.compose(google_event(event))
    return float(accountant.get_epsilon(delta))


@pytest.mark.parametrize(("noise", "rate", "steps", "delta"), GRID)
def test_epsilon_is_that_of_an_independent_accountant(
    noise: float, rate: float, steps: int, delta: float
) -> None:
    events = [Event(noise, rate, steps)]
    tight = google_epsilon(PLDAccountant(value_discretization_interval=1e-3), events, delta)
    renyi = google_epsilon(RdpAccountant(), events, delta)
    assert epsilon_of(events, delta, "prv") == pytest.approx(tight, rel=0.02)
    assert epsilon_of(events, delta, "prv") >= tight * 0.999  # theirs is an upper bound too
    assert epsilon_of(events, delta, "rdp") == pytest.approx(renyi, rel=0.02)


def test_different_events_compose_as_an_independent_accountant_composes_them() -> None:
    events = [Event(1.0, 0.05, 100), Event(0.8, 0.1, 20), Event(3.0, 1.0, 4)]
    expected = google_epsilon(PLDAccountant(value_discretization_interval=1e-3), events, 1e-4)
    assert epsilon_of(events, 1e-4, "prv") == pytest.approx(expected, rel=0.02)


def test_a_ledger_adds_up_as_an_independent_accountant_does(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    ledger = bench.of("chest")
    ledger._accounting = None
    bench.train(1, ledger=ledger)
    ledger.settle(ledger.reserve(make_task(2), Event(2.0, 0.05, 30), 1e-5), 30)
    expected = google_epsilon(PLDAccountant(), [Event(1.0, 0.1, 10), Event(2.0, 0.05, 30)], 1e-5)
    assert ledger.spent().epsilon == pytest.approx(expected, rel=0.02)


def test_site_level_rounds_of_a_sample_cost_what_an_independent_accountant_says() -> None:
    mechanism = SiteMechanism(
        clip_norm=2.0,
        noise_multiplier=1.2,
        sample_rate=0.2,
        planned_sites=10,
        target_delta=1e-5,
        accountant="prv",
        noise_seed=1,
    )
    expected = google_epsilon(PLDAccountant(), [Event(1.2, 0.2, 50)], 1e-5)
    assert mechanism.spent(50).epsilon == pytest.approx(expected, rel=0.02)
