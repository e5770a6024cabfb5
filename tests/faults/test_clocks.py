"""A clock is stepped in mid-round: no round ends for it, none waits for ever, and the study goes on."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.attacks.federation import until
from tests.faults.link import Studies

STEPS = {"a day ahead": timedelta(days=1), "an hour back": timedelta(hours=-1)}


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(
            step,
            marks=pytest.mark.fault(
                f"a hospital's clock is set {name} while it trains, and put right later",
                "the link is refused with `clock-skewed` until then, at both sides, and training goes on; "
                "the model is bit-equal",
            ),
            id=name,
        )
        for name, step in STEPS.items()
    ],
)
def test_of_a_hospital(step: timedelta, quick: Studies, undisturbed: str) -> None:
    alder = quick.ward("alder")
    contract = quick.begin(f"site-clock-{step.total_seconds():.0f}")
    with quick.training("alder"):
        alder.clock.ahead = step
        alder.shows("clock-skewed")
    until(lambda: quick.released("alder", contract), "the end of training")
    assert alder.status.link != "connected"
    alder.clock.ahead *= 0
    assert quick.model(contract) == undisturbed


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(
            step,
            marks=pytest.mark.fault(
                f"the coordinator's clock is set {name} in mid-round, and put right later",
                "no task is too late for it; every link is refused with `clock-skewed` until then, and the "
                "model is bit-equal",
            ),
            id=name,
        )
        for name, step in STEPS.items()
    ],
)
def test_of_the_coordinator(step: timedelta, quick: Studies, undisturbed: str) -> None:
    federation, before = quick.federation, len(quick.federation.entries("coordinator"))
    contract = quick.begin(f"coordinator-clock-{step.total_seconds():.0f}")
    with quick.training("alder"):
        federation.clock.ahead = step
        for site in quick.sites:
            quick.ward(site).shows("clock-skewed")
    federation.clock.ahead *= 0
    assert quick.model(contract) == undisturbed
    events = {entry.event for entry in federation.entries("coordinator")[before:]}
    assert "task.cancelled" not in events, "a task was too late by a clock that was wrong"


@pytest.mark.fault(
    "the coordinator's clock is put right by a day while nobody is connected, with tasks under way",
    "what time the tasks had left they have; the model is bit-equal",
)
def test_that_stays(quick: Studies, undisturbed: str) -> None:
    """All clocks were wrong together, and are right together in the end."""
    contract = quick.begin("clock-stays")
    clocks = [quick.federation.clock, *(quick.ward(site).clock for site in quick.sites)]
    try:
        with quick.training("alder"):
            for clock in clocks:
                clock.ahead = timedelta(days=1)
            for site in quick.sites:
                quick.federation.drop(site)
        assert quick.model(contract) == undisturbed
    finally:
        for clock in clocks:
            clock.ahead *= 0
