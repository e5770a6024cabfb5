"""Waiting: bounded above and below, doubled by failures, forgotten after health."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from client.link.timing import Backoff, Timing

TIMING = Timing()


class Fair(random.Random):
    """Always says the highest it may."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Mean(random.Random):
    """Always says the lowest it may."""

    def uniform(self, a: float, b: float) -> float:
        return a


lived = st.lists(st.floats(0, 59.9), max_size=200)


@given(lived, st.integers())
def test_never_zero_and_never_past_the_longest(lives: Sequence[float], seed: int) -> None:
    backoff = Backoff(TIMING, random.Random(seed))
    for life in lives:
        assert TIMING.shortest_s <= backoff.after(life) <= TIMING.longest_s
        assert TIMING.slow_s / 2 < backoff.slow() <= TIMING.slow_s


@given(lived)
def test_the_ceiling_doubles_to_the_longest(lives: Sequence[float]) -> None:
    backoff = Backoff(TIMING, Fair())
    waits = [backoff.after(life) for life in lives]
    assert waits == [min(TIMING.longest_s, TIMING.first_s * 2.0**number) for number in range(len(lives))]


@given(lived, st.floats(60.0, 1e9))
def test_health_makes_the_next_failure_the_first(lives: Sequence[float], healthy_s: float) -> None:
    backoff = Backoff(TIMING, Fair())
    for life in lives:
        backoff.after(life)
    assert backoff.after(healthy_s) == TIMING.first_s
    assert backoff.after(0.0) == 2 * TIMING.first_s


def test_no_wait_is_nothing() -> None:
    backoff = Backoff(TIMING, Mean())
    assert [backoff.after(0.0) for _ in range(3)] == 3 * [TIMING.shortest_s]


def test_it_goes_on_for_ever() -> None:
    backoff = Backoff(TIMING, Fair())
    for _ in range(5000):
        wait = backoff.after(0.0)
    assert wait == TIMING.longest_s


def test_sites_come_back_at_different_times() -> None:
    """A hundred sites that lost the coordinator at once: no tenth of the time sees a third of them."""
    waits = []
    for seed in range(100):
        backoff = Backoff(TIMING, random.Random(seed))
        waits.append([backoff.after(0.0) for _ in range(8)][-1])
    counts = [sum(6 * tenth <= wait < 6 * (tenth + 1) for wait in waits) for tenth in range(10)]
    assert max(counts) < 33
    assert min(counts) > 0
