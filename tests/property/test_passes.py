"""Rounds of any length go through all cases, and balanced draws know nothing but classes and patients."""

from __future__ import annotations

from itertools import chain, islice

import torch
from hypothesis import given
from hypothesis import strategies as st

from client.sampling import balanced, going_on
from common.study import Training

SEEDS = st.integers(0, 2**63 - 1)


@given(st.integers(1, 60), st.integers(1, 20), st.floats(0.01, 3.0), SEEDS)
def test_rounds_are_parts_of_one_row_of_whole_passes(cases: int, size: int, epochs: float, seed: int) -> None:
    steps = Training(local_epochs=epochs, batch_size=size).steps(cases)
    assert steps is not None
    assert steps >= 1
    a_pass = -(-cases // size)
    rounds = -(-2 * a_pass // steps)
    row = [
        batch.tolist()
        for number in range(rounds)
        for batch in islice(going_on(cases, size, seed, number * steps), steps)
    ]
    for first in (0, a_pass):
        assert sorted(chain.from_iterable(row[first : first + a_pass])) == list(range(cases))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=30), SEEDS)
def test_balanced_draws_are_cases_of_every_class(cases: list[tuple[int, int]], seed: int) -> None:
    targets, groups = (torch.tensor(each) for each in zip(*cases, strict=True))
    draws = islice(balanced(targets, groups, 16, torch.Generator().manual_seed(seed)), 20)
    drawn = torch.cat(list(draws))
    assert 0 <= int(drawn.min()) <= int(drawn.max()) < len(cases)
    if len(cases) >= 10:  # 200 draws or more: one class of four is missed once in 10^25
        assert set(targets[drawn].tolist()) == set(targets.tolist())
