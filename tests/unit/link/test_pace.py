"""Pieces of weights are as large as the line is fast."""

from __future__ import annotations

from itertools import pairwise

from common.link.pieces import AHEAD_BYTES, LEAST_BYTES, MOST_BYTES, PIECE_S, paced


def sizes(count: int, *rates_bytes_s: float) -> list[int]:
    """The first pieces over a line of these rates, ``count`` over each.

    A piece is taken at once while no more is under way than may be.
    """
    now, free, found = 0.0, 0.0, list[int]()  # free: when the line has carried all that it was given

    def clock() -> float:
        return now

    pieces = paced(clock)
    for rate in rates_bytes_s:
        for _ in range(count):
            size = next(pieces)
            found.append(size)
            free = max(free, now) + size / rate
            now = max(now, free - (AHEAD_BYTES + size) / rate)
    return found


def test_they_begin_small_and_grow_to_the_largest_on_a_fast_line() -> None:
    found = sizes(20, 1e9)
    assert found[0] == LEAST_BYTES and found[-1] == MOST_BYTES
    assert all(after <= 2 * before for before, after in pairwise(found))


def test_on_a_slow_line_they_stay_small_from_the_first_one_on() -> None:
    assert max(sizes(40, 20_000)) <= 20_000 * PIECE_S
    assert set(sizes(40, 10_000)) == {LEAST_BYTES}


def test_in_between_each_takes_about_as_long_as_it_may() -> None:
    for rate in (100_000, 400_000, 900_000):
        assert 0.3 * PIECE_S < sizes(60, rate)[-1] / rate <= 1.2 * PIECE_S


def test_they_follow_a_line_that_becomes_slow_and_fast_again() -> None:
    found = sizes(60, 1e8, 50_000, 1e8)
    assert found[59] == found[-1] == MOST_BYTES and found[119] < 2 * 50_000 * PIECE_S
