"""An update counts only if it is what it should be; everything else costs itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.errors import UpdateRefused
from common.update import Contribution
from common.weights import digest
from server.gate import admit

BASE = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.zeros(3, dtype=np.float32),
    "count": np.array(3, dtype=np.int64),
}
DIGEST = digest(BASE)
GOOD = Contribution("elm", 4, DIGEST, {n: np.ones_like(a) for n, a in BASE.items()}, cases=10, loss=0.5)


def let_in(contribution: Contribution) -> None:
    admit(contribution, "elm", 4, BASE, DIGEST)


def with_array(name: str, array: Any) -> Contribution:
    return replace(GOOD, delta={**GOOD.delta, name: np.asarray(array)})


@pytest.mark.parametrize(
    "contribution",
    [
        pytest.param(GOOD, id="as asked"),
        pytest.param(replace(GOOD, delta={n: np.zeros_like(a) for n, a in BASE.items()}), id="no change"),
        pytest.param(replace(GOOD, cases=1, loss=0.0), id="one case, no loss"),
        pytest.param(replace(GOOD, base_loss=0.7), id="with the base model's loss"),
        pytest.param(with_array("b", np.full(3, 1e30, dtype=np.float32)), id="large but finite"),
        pytest.param(replace(GOOD, delta=dict(reversed(GOOD.delta.items()))), id="another order"),
    ],
)
def test_a_sound_update_passes(contribution: Contribution) -> None:
    let_in(contribution)


@pytest.mark.parametrize(
    "contribution",
    [
        pytest.param(replace(GOOD, site="fir"), id="another site"),
        pytest.param(replace(GOOD, site="Elm"), id="another spelling"),
        pytest.param(replace(GOOD, round=3), id="the round before"),
        pytest.param(replace(GOOD, round=5), id="the round after"),
        pytest.param(replace(GOOD, base_digest="0" * 64), id="another base"),
        pytest.param(replace(GOOD, base_digest=""), id="no base"),
        pytest.param(replace(GOOD, cases=0), id="no cases"),
        pytest.param(replace(GOOD, cases=-1), id="fewer than no cases"),
        pytest.param(replace(GOOD, delta={}), id="no arrays"),
        pytest.param(replace(GOOD, delta={"w": BASE["w"], "b": BASE["b"]}), id="array missing"),
        pytest.param(with_array("more", np.zeros(1, np.float32)), id="array too many"),
        pytest.param(with_array("b", np.zeros(4, np.float32)), id="longer"),
        pytest.param(with_array("b", np.zeros(1, np.float32)), id="broadcastable"),
        pytest.param(with_array("w", np.zeros((1, 3), np.float32)), id="broadcastable row"),
        pytest.param(with_array("b", np.float32(0)), id="scalar"),
        pytest.param(with_array("w", np.zeros((3, 2), np.float32)), id="transposed"),
        pytest.param(with_array("b", np.zeros(3, np.float64)), id="float64"),
        pytest.param(with_array("b", np.zeros(3, np.float16)), id="float16"),
        pytest.param(with_array("b", np.zeros(3, ">f4")), id="other byte order"),
        pytest.param(with_array("b", np.zeros(3, np.int32)), id="integers"),
        pytest.param(with_array("b", np.array(["a", "b", "c"])), id="text"),
        pytest.param(with_array("b", np.array([0, np.nan, 0], np.float32)), id="NaN"),
        pytest.param(with_array("b", np.array([0, 0, np.inf], np.float32)), id="infinite"),
        pytest.param(with_array("b", np.array([-np.inf, 0, 0], np.float32)), id="minus infinite"),
    ],
)
def test_anything_else_is_refused(contribution: Contribution) -> None:
    with pytest.raises(UpdateRefused):
        let_in(contribution)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -0.1])
@pytest.mark.parametrize("field", ["loss", "base_loss"])
def test_a_loss_that_is_none_is_refused(loss: float, field: str) -> None:
    with pytest.raises(UpdateRefused, match="loss"):
        let_in(replace(GOOD, **{field: loss}))


HEAD = f"12:{'0a' * 32}"
PRIVATE = replace(GOOD, loss=None, epsilon=2.5, target_delta=1e-5, clip_norm=0.9, ledger_head=HEAD)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="as asked"),
        pytest.param({"epsilon": 0.0}, id="nothing spent"),
        pytest.param({"clip_norm": None, "ledger_head": None}, id="no more than it must"),
        pytest.param({"ledger_head": f"999999999999:{'f' * 64}"}, id="a long ledger"),
    ],
)
def test_an_update_of_private_training_passes(changes: dict[str, Any]) -> None:
    admit(replace(PRIVATE, **changes), "elm", 4, BASE, DIGEST, private=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"loss": 0.5}, "without noise", id="loss"),
        pytest.param({"base_loss": 0.5}, "without noise", id="loss of the base model"),
        pytest.param({"epsilon": None}, "no finite epsilon", id="no epsilon"),
        pytest.param({"epsilon": float("inf")}, "no finite epsilon", id="infinite epsilon"),
        pytest.param({"epsilon": float("nan")}, "no finite epsilon", id="epsilon NaN"),
        pytest.param({"epsilon": -0.1}, "no finite epsilon", id="negative epsilon"),
        pytest.param({"target_delta": None}, "without a delta", id="no delta"),
        pytest.param({"target_delta": 0.0}, "without a delta", id="delta 0"),
        pytest.param({"target_delta": 1.0}, "without a delta", id="delta 1"),
        pytest.param({"target_delta": float("nan")}, "without a delta", id="delta NaN"),
        pytest.param({"clip_norm": 0.0}, "clip norm", id="clip norm 0"),
        pytest.param({"clip_norm": float("inf")}, "clip norm", id="clip norm infinite"),
        pytest.param({"ledger_head": ""}, "ledger head", id="head of nothing"),
        pytest.param({"ledger_head": f"1234567890123:{'a' * 64}"}, "ledger head", id="number too long"),
        pytest.param({"ledger_head": f"1:{'a' * 63}"}, "ledger head", id="digest too short"),
        pytest.param({"ledger_head": f"1:{'A' * 64}"}, "ledger head", id="capitals"),
        pytest.param({"ledger_head": f"1:{'a' * 64}\n"}, "ledger head", id="one line more"),
        pytest.param({"ledger_head": f"\u0661:{'a' * 64}"}, "ledger head", id="digits of another script"),
    ],
)
def test_private_training_tells_what_it_cost_and_no_loss(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UpdateRefused, match=said):
        admit(replace(PRIVATE, **changes), "elm", 4, BASE, DIGEST, private=True)


@pytest.mark.parametrize("changes", [{"epsilon": 1.0}, {"target_delta": 1e-5}, {"loss": None}])
def test_an_epsilon_without_privacy_is_refused_and_so_is_no_loss(changes: dict[str, Any]) -> None:
    with pytest.raises(UpdateRefused):
        let_in(replace(GOOD, **changes))


@pytest.mark.parametrize(
    ("contribution", "said"),
    [
        (replace(GOOD, site="fir", round=7), "'fir', round 7"),
        (replace(GOOD, cases=-3), "-3 cases"),
        (with_array("b", np.zeros((1,), np.float64)), r"b is float64\(1,\), not float32\(3,\)"),
        (with_array("b", np.full(3, np.nan, np.float32)), "b holds values that are not finite"),
        (with_array("more", 0), r"\['more'\]"),
    ],
)
def test_a_refusal_says_what_is_wrong(contribution: Contribution, said: str) -> None:
    with pytest.raises(UpdateRefused, match=said):
        let_in(contribution)


def test_only_some_names_of_many_are_listed() -> None:
    with pytest.raises(UpdateRefused) as caught:
        let_in(replace(GOOD, delta={f"array-{n}": BASE["b"] for n in range(10_000)}))
    assert len(str(caught.value)) < 300


def test_an_update_passes_only_where_it_is_meant_for() -> None:
    ask: Callable[..., None] = lambda site, number, base: admit(GOOD, site, number, BASE, base)  # noqa: E731
    ask("elm", 4, DIGEST)
    for wrong in (("fir", 4, DIGEST), ("elm", 5, DIGEST), ("elm", 4, "f" * 64)):
        with pytest.raises(UpdateRefused):
            ask(*wrong)
