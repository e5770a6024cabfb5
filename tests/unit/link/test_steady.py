"""Deadlines are judged by a time that steps of the clock do not move."""

from __future__ import annotations

import pytest

from server.link.steady import Steady

DAY, HOUR, MINUTE = 86_400_000, 3_600_000, 60_000


class Clocks:
    """A clock that is set, and the time that really passes."""

    def __init__(self) -> None:
        self.wall_ms, self.passed_s = 1_000_000_000, 50.0

    def go_on(self, ms: int) -> None:
        self.wall_ms += ms
        self.passed_s += ms / 1000


@pytest.mark.parametrize("step", [DAY, -HOUR, 6 * MINUTE, -6 * MINUTE])
def test_a_step_is_not_followed(step: int) -> None:
    clocks = Clocks()
    steady = Steady(lambda: clocks.wall_ms, lambda: clocks.passed_s)
    clocks.go_on(MINUTE)
    began = steady()
    clocks.wall_ms += step
    assert steady() == began
    clocks.go_on(HOUR)
    assert steady() == began + HOUR
    clocks.wall_ms -= step
    assert steady() == began + HOUR == clocks.wall_ms


@pytest.mark.parametrize("correction", [4 * MINUTE, -4 * MINUTE, 1])
def test_a_correction_is(correction: int) -> None:
    clocks = Clocks()
    steady = Steady(lambda: clocks.wall_ms, lambda: clocks.passed_s)
    clocks.wall_ms += correction
    assert steady() == clocks.wall_ms


def test_time_passes_however_seldom_it_is_asked_for() -> None:
    clocks = Clocks()
    steady = Steady(lambda: clocks.wall_ms, lambda: clocks.passed_s)
    clocks.go_on(30 * DAY)
    assert steady() == clocks.wall_ms
