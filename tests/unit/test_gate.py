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


HUGE = pytest.param(10**5000, id="too large to be written")


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(True, id="truth value"),
        pytest.param(10.0, id="float"),
        pytest.param(float("nan"), id="NaN"),
        pytest.param(float("inf"), id="infinite"),
        pytest.param(np.int64(10), id="numpy integer"),
        pytest.param(np.float64(10), id="numpy float"),
        pytest.param(np.array(10), id="array"),
        pytest.param("10", id="text"),
        pytest.param(None, id="none"),
        pytest.param(-(10**5000), id="too small to be written"),
    ],
)
def test_a_weight_is_a_whole_number_and_nothing_like_one(cases: Any) -> None:
    with pytest.raises(UpdateRefused, match="weight of"):
        let_in(replace(GOOD, cases=cases))


@pytest.mark.parametrize(
    ("cases", "passes"),
    [
        (1, True),
        (10, True),
        (11, False),
        (10**9, False),
        pytest.param(10**5000, False, id="too large to be written"),
    ],
)
def test_a_weight_is_at_most_the_cases_that_were_registered(cases: int, passes: bool) -> None:
    ask = lambda: admit(replace(GOOD, cases=cases), "elm", 4, BASE, DIGEST, registered=10)  # noqa: E731
    if passes:
        ask()
    else:
        with pytest.raises(UpdateRefused, match="10 described"):
            ask()


@pytest.mark.parametrize("value", [True, "0.5", HUGE, np.array(0.5), np.array([0.5, 0.5]), 1e301])
@pytest.mark.parametrize("field", ["loss", "base_loss"])
def test_a_figure_is_a_number_and_nothing_like_one(field: str, value: Any) -> None:
    with pytest.raises(UpdateRefused, match="loss"):
        let_in(replace(GOOD, **{field: value}))


@pytest.mark.parametrize("value", [True, "1", HUGE])
@pytest.mark.parametrize("field", ["epsilon", "target_delta", "clip_norm"])
def test_a_figure_of_privacy_is_a_number_and_nothing_like_one(field: str, value: Any) -> None:
    with pytest.raises(UpdateRefused):
        admit(replace(PRIVATE, **{field: value}), "elm", 4, BASE, DIGEST, private=True)


@pytest.mark.parametrize("number", [4.0, np.int64(4), "4", None, HUGE])
def test_a_round_is_a_whole_number_and_nothing_like_one(number: Any) -> None:
    with pytest.raises(UpdateRefused, match="says it is"):
        let_in(replace(GOOD, round=number))


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.asfortranarray(np.ones((2, 3), np.float32)), id="Fortran's order"),
        pytest.param(np.ones((4, 3), np.float32)[::2], id="every other row"),
        pytest.param(np.ones((2, 3), np.float32)[::-1, ::-1], id="backwards"),
        pytest.param(np.ones((3, 2), np.float32).T, id="turned"),
        pytest.param(np.broadcast_to(np.float32(1), (2, 3)), id="one number seen six times"),
        pytest.param(np.ones((2, 3), np.float32).view(np.matrix), id="matrix"),
    ],
)
def test_how_an_array_lies_in_memory_does_not_matter(array: Any) -> None:
    let_in(replace(GOOD, delta={**GOOD.delta, "w": array}))


HIDDEN = np.ma.MaskedArray(np.array([1, np.nan, 1], np.float32), mask=[False, True, False])  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(HIDDEN, id="NaN behind a mask"),
        pytest.param(np.zeros(3, [("a", "<f4")]), id="structured"),
        pytest.param(np.zeros(3, [(f"field-{n}", "<f4") for n in range(500)]), id="structured without end"),
        pytest.param(np.zeros((0,), np.float32), id="empty"),
        pytest.param(np.zeros((3, 0), np.float32), id="empty rows"),
        pytest.param(np.zeros((1,) * 30 + (3,), np.float32), id="many dimensions"),
        pytest.param(np.broadcast_to(np.float32(0), (2**31, 2**20)), id="huge"),
        pytest.param(np.array([1, 2, 3], object), id="objects"),
        pytest.param([0.0, 0.0, 0.0], id="a list"),
        pytest.param(None, id="nothing"),
    ],
)
def test_what_is_no_array_of_the_models_is_refused_in_few_words(array: Any) -> None:
    with pytest.raises(UpdateRefused) as caught:
        let_in(replace(GOOD, delta={**GOOD.delta, "b": array}))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "name",
    [
        "B",
        " b",
        "b ",
        "b\0",
        "b\n",
        "",
        "\uff42",
        "\u0431",
        "b\u200b",
        "../b",
        "\ud800",
        "\x1b[2J",
        "x" * 10**6,
    ],
    ids=lambda name: ascii(name)[:20],
)
def test_a_name_is_the_models_own_letter_for_letter(name: str) -> None:
    for delta in ({**GOOD.delta, name: BASE["b"]}, {"w": BASE["w"], "count": BASE["count"], name: BASE["b"]}):
        with pytest.raises(UpdateRefused, match="missing or unknown") as caught:
            let_in(replace(GOOD, delta=delta))
        assert str(caught.value).isprintable() and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "named", [digest({**BASE, "b": BASE["b"] + 1}), DIGEST.upper(), DIGEST[:-1], DIGEST + " "]
)
def test_an_update_of_an_earlier_model_is_no_update_of_this_one(named: str) -> None:
    with pytest.raises(UpdateRefused, match="another base"):
        let_in(replace(GOOD, base_digest=named))


def test_arrays_are_looked_at_one_by_one_and_none_where_the_names_are_wrong() -> None:
    class Counting(dict[str, Any]):
        read = 0

        def __getitem__(self, name: str) -> Any:
            Counting.read += 1
            return super().__getitem__(name)

    let_in(replace(GOOD, delta=Counting(GOOD.delta)))
    assert Counting.read == len(BASE)
    with pytest.raises(UpdateRefused):
        let_in(replace(GOOD, delta=Counting({**GOOD.delta, "more": BASE["b"]})))
    assert Counting.read == len(BASE)
