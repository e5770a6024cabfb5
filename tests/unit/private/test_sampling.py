"""Each unit is in a batch with the probability that is accounted, and with some of its cases."""

from __future__ import annotations

import logging
import math
from collections import Counter
from itertools import islice

import pytest
import torch

from common.private.sampling import Batch, UnitCases, uniforms, unit_batches
from common.private.secret import Secret

SECURE = pytest.mark.parametrize("secure", [False, True], ids=["loader", "keystream"])


def batches(units: int, rate: float, steps: int, *, secure: bool, seed: int = 0) -> list[torch.Tensor]:
    return list(unit_batches(units, rate, steps, Secret.seeded(seed), secure=secure))


@SECURE
def test_batch_sizes_are_those_of_independent_coins(secure: bool) -> None:
    units, rate, steps = 400, 0.05, 1000
    drawn = batches(units, rate, steps, secure=secure)
    sizes = torch.tensor([len(batch) for batch in drawn], dtype=torch.float64)
    mean, variance = units * rate, units * rate * (1 - rate)
    assert len(sizes) == steps
    assert abs(float(sizes.mean()) - mean) < 4 * math.sqrt(variance / steps)
    assert abs(float(sizes.var()) / variance - 1) < 4 * math.sqrt(2 / steps)
    each = torch.bincount(torch.cat(drawn), minlength=units) / steps
    assert (each - rate).abs().max() < 5 * math.sqrt(rate * (1 - rate) / steps)


@SECURE
def test_whether_two_units_are_drawn_together_is_chance(secure: bool) -> None:
    rate, steps = 0.3, 4000
    member = torch.zeros(steps, 5)
    for row, batch in zip(member, batches(5, rate, steps, secure=secure), strict=True):
        row[batch] = 1
    together = (member.T @ member) / steps
    off = together[~torch.eye(5, dtype=torch.bool)]
    assert (off - rate**2).abs().max() < 5 * math.sqrt(rate**2 * (1 - rate**2) / steps)


@SECURE
def test_units_come_in_ascending_order_and_once(secure: bool) -> None:
    for batch in batches(50, 0.4, 20, secure=secure):
        assert batch.dtype == torch.int64
        assert torch.equal(batch, batch.unique())


@SECURE
def test_empty_batches_are_batches(secure: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        drawn = batches(1, 0.001, 50, secure=secure)
    assert [batch.shape for batch in drawn[:3]] == [(0,)] * 3
    assert all(batch.dtype == torch.int64 for batch in drawn)
    assert not caplog.records


@SECURE
def test_a_rate_of_one_draws_everybody(secure: bool) -> None:
    for batch in batches(7, 1.0, 3, secure=secure):
        assert torch.equal(batch, torch.arange(7))


@SECURE
def test_the_secret_decides_and_epochs_differ(secure: bool) -> None:
    def drawn(seed: int) -> list[list[int]]:
        return [batch.tolist() for batch in batches(30, 0.5, 6, secure=secure, seed=seed)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert len({tuple(batch) for batch in drawn(1)}) == 6  # with rate 1/2, three passes of the loader


def drawn_cases(groups: list[int], units: list[int], most: int, seed: int = 0) -> Batch:
    tensor = torch.tensor(groups)
    source = uniforms(Secret.seeded(seed), "cases", secure=False)
    return UnitCases(tensor, max(groups) + 1).drawn(torch.tensor(units, dtype=torch.int64), most, source)


def test_few_cases_are_all_taken() -> None:
    batch = drawn_cases([2, 0, 2, 1, 0, 4], [0, 2, 3, 4], most=4)
    assert batch.cases.tolist() == [1, 4, 0, 2, 5]
    assert batch.units.tolist() == [0, 0, 1, 1, 3]
    assert batch.sizes.tolist() == [2, 2, 0, 1]


def test_no_units_have_no_cases() -> None:
    batch = drawn_cases([0, 1], [], most=1)
    assert len(batch.cases) == len(batch.units) == len(batch.sizes) == 0


@SECURE
def test_of_many_cases_each_subset_is_as_likely(secure: bool) -> None:
    groups = torch.tensor([0] * 4 + [1] * 2 + [2])
    cases, draw = UnitCases(groups, 3), uniforms(Secret.seeded(5), "cases", secure=secure)
    seen: Counter[tuple[int, ...]] = Counter()
    for _ in range(3000):
        batch = cases.drawn(torch.arange(3), 2, draw)
        assert batch.sizes.tolist() == [2, 2, 1]
        assert batch.units.tolist() == [0, 0, 1, 1, 2]
        assert batch.cases[2:].tolist() == [4, 5, 6]
        seen[tuple(batch.cases[:2].tolist())] += 1
    assert set(seen) == {(a, b) for a in range(4) for b in range(a + 1, 4)}
    assert all(abs(count - 500) < 5 * math.sqrt(500 * 5 / 6) for count in seen.values())


def test_a_case_of_an_unknown_unit_is_refused() -> None:
    for groups in ([0, 3], [-1, 0]):
        with pytest.raises(ValueError, match="from 0 to 2"):
            UnitCases(torch.tensor(groups), 3)


def test_a_stream_of_batches_is_made_as_it_is_asked_for() -> None:
    endless = unit_batches(10, 0.5, 10**9, Secret.seeded(0), secure=False)
    assert len(list(islice(endless, 3))) == 3
