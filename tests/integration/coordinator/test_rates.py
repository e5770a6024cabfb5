"""The rate limit: bursts pass, floods do not, and nobody pays for another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.link.rates import RateLimit


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.0, 30.0)), max_size=60))
def test_no_minute_ever_holds_more_than_two_bursts(tried: list[tuple[str, float]]) -> None:
    """A bucket lets through what it holds and what a minute brings, and never more."""
    now, passed = 0.0, []
    limit = RateLimit(5, 9, lambda: now)
    for who, pause in tried:
        now += pause
        if limit.take(who):
            passed.append((now, who))
    for begin, _ in passed:
        minute = [who for time, who in passed if begin <= time < begin + 60.0]
        assert len(minute) <= 2 * 9
        assert all(minute.count(who) <= 2 * 5 for who in "abc")


def test_buckets_of_those_who_went_away_are_dropped() -> None:
    now = 0.0
    limit = RateLimit(5, 1000, lambda: now)
    assert all(limit.take(str(who)) for who in range(500))
    now = 61.0
    assert limit.take("last")
    assert list(limit._of) == ["last"]


def test_who_has_no_token_left_takes_none_from_others() -> None:
    limit = RateLimit(2, 3, lambda: 0.0)
    assert [limit.take("a") for _ in range(10)] == [True, True] + [False] * 8
    assert [limit.take("b") for _ in range(2)] == [True, False]
