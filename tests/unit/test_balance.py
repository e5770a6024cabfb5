"""Class weights: each class that occurs counts the same in total."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.balance import balanced_weights


@pytest.mark.parametrize(
    ("counts", "weights"),
    [((30, 10), (2 / 3, 2.0)), ((5, 5), (1.0, 1.0)), ((4, 0), (1.0, 0.0)), ((0, 0), (0.0, 0.0)), ((), ())],
)
def test_known_answers(counts: tuple[int, ...], weights: tuple[float, ...]) -> None:
    assert balanced_weights(counts) == pytest.approx(weights)


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=8).filter(any))
def test_classes_that_occur_weigh_the_same_and_the_mean_is_one(counts: list[int]) -> None:
    totals = [count * weight for count, weight in zip(counts, balanced_weights(counts), strict=True)]
    assert sum(totals) == pytest.approx(sum(counts))
    assert [t for t in totals if t] == pytest.approx(
        [sum(counts) / sum(map(bool, counts))] * sum(map(bool, counts))
    )
