"""Pieces of weights are as large as the line is fast."""

from __future__ import annotations

from itertools import islice

from common.link.pieces import LEAST_BYTES, MOST_BYTES, PIECE_S, paced


def sizes(rate_bytes_s: float, count: int) -> list[int]:
    """The first pieces over a line of this rate."""
    now, last, found = 0.0, 0, []

    def clock() -> float:
        return now

    pieces = paced(clock)
    for _ in range(count):
        now += last / rate_bytes_s
        last = next(pieces)
        found.append(last)
    return found


def test_they_begin_small_and_grow_to_the_largest_on_a_fast_line() -> None:
    assert sizes(1e9, 7) == [LEAST_BYTES * 2**n for n in range(5)] + [MOST_BYTES] * 2


def test_on_a_slow_line_they_stay_small() -> None:
    assert set(sizes(20_000, 20)) == {LEAST_BYTES}


def test_in_between_each_takes_about_as_long_as_it_may() -> None:
    for rate in (50_000, 200_000, 900_000):
        assert abs(sizes(rate, 20)[-1] - rate * PIECE_S) <= 1


def test_a_line_that_becomes_slow_gets_small_ones_at_once() -> None:
    times = iter([0.0, 0.0, 0.0, 0.1, 0.1, 100.0, 100.0])
    assert list(islice(paced(lambda: next(times)), 4)) == [
        LEAST_BYTES,
        2 * LEAST_BYTES,
        4 * LEAST_BYTES,
        LEAST_BYTES,
    ]
