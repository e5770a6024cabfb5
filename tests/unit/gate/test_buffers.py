"""Counters stay whole numbers that nobody can blow up, variances above zero; no model has either today."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.errors import UpdateRefused
from common.models import SequenceClassifier, state_of
from common.study import Study
from common.update import Contribution
from common.weights import Moved, Weights, digest, norm, subtract
from server.gate import admit, complete, learnt
from server.gate.buffers import MOST_COUNTED, counts
from server.strategies import build_strategy
from tests.unit.gate.conftest import BASE, along, given

ONES = np.ones(15)
COUNTER, VARIANCE = "norm.num_batches_tracked", "norm.running_var"


def sent(**changes: Any) -> Contribution:
    """An update as asked, some of its arrays replaced; dots in names are written ``__``."""
    delta = {**along(ONES, 0.1, counted=5), **{n.replace("__", "."): a for n, a in changes.items()}}
    return replace(given("elm", delta), base_digest=digest(BASE))


def let_in(contribution: Contribution, base: Weights = BASE) -> None:
    admit(replace(contribution, base_digest=digest(base)), "elm", 1, base, digest(base))


@pytest.mark.parametrize("encoder", ["none", "cnn", "hog"])
@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_no_model_has_buffers_today(tiny: Callable[..., SequenceClassifier], encoder: str, cell: str) -> None:
    state = state_of(tiny(0, model={"encoder": encoder, "cell": cell}))
    assert {array.dtype for array in state.values()} == {np.dtype(np.float32)}
    assert not [name for name in state if "running" in name or "num_batches" in name]


@pytest.mark.parametrize("moved", [0, 1, MOST_COUNTED, -7])
def test_a_counter_may_move_to_what_it_can_be(moved: int) -> None:
    let_in(sent(norm__num_batches_tracked=np.array(moved)))


@pytest.mark.parametrize(
    "moved", [-8, MOST_COUNTED + 1, 2**62, 2**63 - 1, 2**63 - 7, -(2**63), -(2**63) + 1, -(2**40) - 1]
)
def test_a_counter_that_cannot_be_is_refused(moved: int) -> None:
    with pytest.raises(UpdateRefused, match="counter"):
        let_in(sent(norm__num_batches_tracked=np.array(moved)))


@pytest.mark.parametrize(("dtype", "base", "moved"), [("i1", 100, 28), ("i4", 2**31 - 2, 2), ("u1", 250, 6)])
def test_a_counter_does_not_leave_its_dtype(dtype: str, base: int, moved: int) -> None:
    model = {"n": np.array([base], dtype)}
    asked = Contribution("elm", 1, "", {"n": np.array([moved - 1], dtype)}, 1, 0.5)
    let_in(asked, model)
    with pytest.raises(UpdateRefused, match="counter"):
        let_in(replace(asked, delta={"n": np.array([moved], dtype)}), model)


def test_an_unsigned_counter_may_go_down() -> None:
    model, less = {"n": np.array([9, 4], np.uint8)}, {"n": np.array([3, 4], np.uint8)}
    change = subtract(less, model)
    let_in(Contribution("elm", 1, "", change, 1, 0.5), model)
    moved = complete(model, {}, [given("elm", change)])
    np.testing.assert_array_equal(dict(Moved(model, moved))["n"], less["n"])


def test_a_variance_below_zero_is_refused() -> None:
    let_in(sent(norm__running_var=np.full(3, -1, np.float32)))
    with pytest.raises(UpdateRefused, match="variance"):
        let_in(sent(norm__running_var=np.array([0, -1.001, 0], np.float32)))


@pytest.mark.parametrize(
    ("moved", "becomes"),
    [([5], 12), ([5, 9], 12), ([5, 6, 2**40], 13), ([0, 3, 3, 4], 10), ([1, 1, 1, -7], 8)],
)
def test_a_counter_becomes_the_lower_median_as_a_whole_number(moved: list[int], becomes: int) -> None:
    contributions = [given(f"s{n}", along(ONES, 0.1, counted=m)) for n, m in enumerate(moved)]
    change = complete(BASE, along(ONES, 0.1), contributions)
    new = dict(Moved(BASE, change))[COUNTER]
    assert (new.dtype, new.shape, int(new)) == (np.dtype(np.int64), (), becomes)


def test_less_than_half_of_the_sites_cannot_put_a_counter_where_no_other_has_it() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        honest = rng.integers(0, 1000, 4)
        bad = rng.choice([-7, MOST_COUNTED], 3)
        every = [given(f"s{n}", along(ONES, 0.1, counted=int(m))) for n, m in enumerate([*bad, *honest])]
        moved = int(complete(BASE, along(ONES, 0.1), every)[COUNTER])
        assert honest.min() <= moved <= honest.max()


def test_a_hundred_thousand_rounds_of_the_largest_move_do_not_overflow() -> None:
    assert int(BASE[COUNTER]) + 100_000 * MOST_COUNTED < np.iinfo(np.int64).max


def test_no_contributions_leave_the_counters() -> None:
    assert int(dict(Moved(BASE, complete(BASE, along(ONES, 0.1), ())))[COUNTER]) == 7


def test_a_strategy_cannot_take_a_variance_below_zero() -> None:
    overshot = {**along(ONES, 0.1), VARIANCE: np.array([-3.0, 0.5, -1.0])}
    np.testing.assert_array_equal(dict(Moved(BASE, complete(BASE, overshot, ())))[VARIANCE], [0, 1.5, 0])


def test_what_is_learnt_is_all_but_the_counters_and_is_read_when_asked_for() -> None:
    class Broken(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            raise AssertionError("read")

    part = learnt(Broken(BASE), BASE)
    assert list(part) == [name for name in BASE if name != COUNTER] and len(part) == 4
    assert COUNTER not in part
    with pytest.raises(AssertionError, match="read"):
        part["w"]
    with pytest.raises(KeyError):
        learnt(BASE, BASE)[COUNTER]


def test_a_model_without_counters_is_learnt_as_it_is() -> None:
    plain = {name: array for name, array in BASE.items() if not counts(array)}
    assert learnt(plain, plain) is plain
    change = complete(plain, plain, ())
    assert list(change) == list(plain)


@pytest.mark.parametrize(
    "name", ["fedavg", "fedavgm", "fedadam", "fedmedian", "fedtrimmedavg", "krum", "qfedavg"]
)
def test_with_every_kind_of_strategy_counters_are_whole_and_of_their_dtype(
    study: Callable[..., Study], name: str
) -> None:
    given_here = [
        replace(given(site, along(ONES, size, counted=counted)), cases=cases)
        for site, size, counted, cases in [
            ("ash", 0.1, 5, 100),
            ("elm", 0.2, 5, 200),
            ("fir", 0.3, 2**40, 17),
        ]
    ]
    strategy = build_strategy(study(federation={"strategy": name}).federation.strategy)
    part = [replace(one, delta=learnt(one.delta, BASE)) for one in given_here]
    new = dict(Moved(BASE, complete(BASE, strategy.combine(1, part), given_here)))
    assert {n: (a.shape, a.dtype) for n, a in new.items()} == {n: (a.shape, a.dtype) for n, a in BASE.items()}
    assert list(new) == list(BASE) and int(new[COUNTER]) == 12 and norm(subtract(new, BASE)) > 0
    assert all(np.isfinite(array).all() for array in new.values()) and (new[VARIANCE] >= 0).all()
