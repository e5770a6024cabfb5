"""Every strategy gives what Flower's own gives on whole weights, and the robust ones are robust."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower
from numpy.typing import NDArray

from common.errors import NothingLearned
from common.flower import free_message
from common.study import STRATEGY_NAMES, StrategyChoice, Study, parse_study
from common.update import Contribution
from common.weights import Moved, Weights
from server.strategies import ClientTerms, Strategy, build_strategy

MakeStudy = Callable[..., Study]
Arrays = dict[str, NDArray[Any]]
SHAPES = {"b": (4,), "a.weight": (3, 4), "a.twin": (3, 4), "scale": (1,)}  # not in alphabetical order

OPTIONS: dict[str, dict[str, Any]] = {
    "fedavg": {},
    "fedavgm": {"server_learning_rate": 0.7, "server_momentum": 0.6},
    "fedprox": {"proximal_mu": 0.3},
    "fedadagrad": {"eta": 0.05, "tau": 0.01},
    "fedadam": {"eta": 0.05, "tau": 0.01, "beta_1": 0.8, "beta_2": 0.95},
    "fedyogi": {"eta": 0.05, "tau": 0.01, "beta_1": 0.8, "beta_2": 0.95},
    "fedmedian": {},
    "fedtrimmedavg": {"beta": 0.2},
    "krum": {"num_malicious_sites": 1},
    "multikrum": {"num_malicious_sites": 1, "num_sites_to_select": 3},
    "bulyan": {"num_malicious_sites": 1},
    "qfedavg": {"q": 0.4, "client_learning_rate": 0.5},
}
FLOWERS: dict[str, Callable[[], Any]] = {
    "fedavg": flower.FedAvg,
    "fedavgm": lambda: flower.FedAvgM(server_learning_rate=0.7, server_momentum=0.6),
    "fedprox": lambda: flower.FedProx(proximal_mu=0.3),
    "fedadagrad": lambda: flower.FedAdagrad(eta=0.05, tau=0.01),
    "fedadam": lambda: flower.FedAdam(eta=0.05, tau=0.01, beta_1=0.8, beta_2=0.95),
    "fedyogi": lambda: flower.FedYogi(eta=0.05, tau=0.01, beta_1=0.8, beta_2=0.95),
    "fedmedian": flower.FedMedian,
    "fedtrimmedavg": lambda: flower.FedTrimmedAvg(beta=0.2),
    "krum": lambda: flower.Krum(num_malicious_nodes=1),
    "multikrum": lambda: flower.MultiKrum(num_malicious_nodes=1, num_nodes_to_select=3),
    "bulyan": lambda: flower.Bulyan(num_malicious_nodes=1),
    "qfedavg": lambda: flower.QFedAvg(q=0.4, client_learning_rate=0.5),
}


def choice(name: str, make_study: MakeStudy, **options: Any) -> StrategyChoice:
    return make_study(federation={"strategy": {"name": name, **options}}).federation.strategy


def drawn(rng: np.random.Generator, size: float) -> Arrays:
    return {name: rng.normal(0, size, shape).astype(np.float32) for name, shape in SHAPES.items()}


def contributions(rng: np.random.Generator, count: int, size: float = 0.1) -> list[Contribution]:
    """Updates that have something in common, as those of a federation do."""
    common = drawn(rng, size)
    return [
        Contribution(
            site=f"site-{n}",
            round=1,
            base_digest="",
            delta=dict(Moved(common, drawn(rng, size / 2))),
            cases=int(rng.integers(5, 100)),
            loss=float(rng.uniform(0.1, 2)),
            base_loss=float(rng.uniform(0.1, 2)),
        )
        for n in range(count)
    ]


def record(weights: Weights) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in weights.items()})


def on_weights(rule: Any, number: int, base: Arrays, given: Sequence[Contribution]) -> Arrays | None:
    """What Flower's strategy makes of the sites' whole weights, in float64."""
    whole = {name: array.astype(np.float64) for name, array in base.items()}
    if hasattr(rule, "current_arrays"):  # as configure_train sets it
        rule.current_arrays = dict(whole) if hasattr(rule, "v_t") else record(whole)
    messages: list[Message] = []
    for one in given:
        metrics = MetricRecord({"num-examples": one.cases, "train_loss": one.base_loss or 0.0})
        arrays = record({name: whole[name] + one.delta[name] for name in whole})
        messages.append(free_message(RecordDict({"arrays": arrays, "metrics": metrics}), MessageType.TRAIN))
    gc.freeze()  # Bulyan and QFedAvg collect garbage once per array: let there be little to look through
    found, _ = rule.aggregate_train(number, messages)
    return None if found is None else {name: found[name].numpy() for name in whole}


def test_every_strategy_is_under_contract() -> None:
    assert set(OPTIONS) == set(FLOWERS) == set(STRATEGY_NAMES) and len(STRATEGY_NAMES) == 12


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", STRATEGY_NAMES)
def test_updates_combine_as_flower_combines_weights(make_study: MakeStudy, name: str, seed: int) -> None:
    rng = np.random.default_rng([seed, STRATEGY_NAMES.index(name)])
    ours, theirs = build_strategy(choice(name, make_study, **OPTIONS[name])), FLOWERS[name]()
    base = drawn(rng, 1.0)
    for number in (1, 2, 3):
        given = contributions(rng, int(rng.integers(7, 9)))
        expected = on_weights(theirs, number, base, given)
        delta = ours.combine(number, given)
        assert expected is not None and list(delta) == list(base)
        for key, array in base.items():
            assert delta[key].dtype == np.float64 and delta[key].shape == array.shape
            np.testing.assert_allclose(array + delta[key], expected[key], atol=1e-6, rtol=0, err_msg=key)
        base = dict(Moved(base, delta))


@pytest.mark.parametrize("name", STRATEGY_NAMES)
def test_the_defaults_are_those_of_the_study(make_study: MakeStudy, name: str) -> None:
    given = contributions(np.random.default_rng(0), 5)
    first, second = (
        build_strategy(choice(name, make_study, **options)).combine(1, given)
        for options in ({}, choice(name, make_study).model_dump(exclude={"name"}))
    )
    assert all(np.array_equal(first[key], second[key]) for key in SHAPES)


@pytest.mark.parametrize("name", ["fedavgm", "fedadagrad", "fedadam", "fedyogi"])
def test_what_remembers_rounds_depends_on_them(make_study: MakeStudy, name: str) -> None:
    rng = np.random.default_rng(3)
    before, given = contributions(rng, 5), contributions(rng, 5)
    fresh, used = (build_strategy(choice(name, make_study, **OPTIONS[name])) for _ in range(2))
    used.combine(1, before)
    assert not np.allclose(fresh.combine(2, given)["b"], used.combine(2, given)["b"], atol=1e-6)


@pytest.mark.parametrize(
    "name", sorted(set(STRATEGY_NAMES) - {"fedavgm", "fedadagrad", "fedadam", "fedyogi"})
)
def test_what_remembers_nothing_does_not(make_study: MakeStudy, name: str) -> None:
    rng = np.random.default_rng(3)
    before, given = contributions(rng, 7), contributions(rng, 7)
    strategy = build_strategy(choice(name, make_study, **OPTIONS[name]))
    first = strategy.combine(1, given)
    strategy.combine(2, before)
    assert all(np.array_equal(first[key], strategy.combine(1, given)[key]) for key in SHAPES)


@pytest.mark.parametrize("name", STRATEGY_NAMES)
def test_contributions_are_left_as_they_came(make_study: MakeStudy, name: str) -> None:
    given = contributions(np.random.default_rng(4), 7)
    before = [{key: array.copy() for key, array in one.delta.items()} for one in given]
    build_strategy(choice(name, make_study, **OPTIONS[name])).combine(1, given)
    for one, kept in zip(given, before, strict=True):
        assert all(np.array_equal(one.delta[key], kept[key]) for key in SHAPES)


@pytest.mark.parametrize("name", sorted(set(STRATEGY_NAMES) - {"qfedavg"}))
def test_updates_of_private_training_have_no_loss_and_need_none(make_study: MakeStudy, name: str) -> None:
    given = contributions(np.random.default_rng(8), 7)
    private = [replace(one, loss=None, base_loss=None, epsilon=1.0, target_delta=1e-5) for one in given]
    first, second = (
        build_strategy(choice(name, make_study, **OPTIONS[name])).combine(1, updates)
        for updates in (given, private)
    )
    assert all(np.array_equal(first[key], second[key]) for key in SHAPES)


def test_momentum_carries_on(make_study: MakeStudy) -> None:
    strategy = build_strategy(choice("fedavgm", make_study, server_momentum=0.5))
    [one] = contributions(np.random.default_rng(5), 1)
    steps = [strategy.combine(number, [one])["b"] for number in (1, 2, 3)]
    for step, factor in zip(steps, (1.0, 1.5, 1.75), strict=True):
        np.testing.assert_allclose(step, factor * one.delta["b"].astype(np.float64), rtol=1e-9)


@pytest.mark.parametrize(("count", "malicious"), [(1, 0), (2, 0), (6, 1), (10, 2)])
def test_bulyan_with_too_few_learns_nothing(make_study: MakeStudy, count: int, malicious: int) -> None:
    given = contributions(np.random.default_rng(0), count)
    strategy = build_strategy(choice("bulyan", make_study, num_malicious_sites=malicious))
    assert (
        on_weights(flower.Bulyan(num_malicious_nodes=malicious), 1, drawn(np.random.default_rng(1), 1), given)
        is None
    )
    with pytest.raises(NothingLearned, match=f"Bulyan needs more than the {count} updates"):
        strategy.combine(1, given)


@pytest.mark.parametrize("name", STRATEGY_NAMES)
def test_two_sites_are_enough_by_default_unless_they_cannot_be(make_study: MakeStudy, name: str) -> None:
    given = contributions(np.random.default_rng(0), 2)
    strategy = build_strategy(choice(name, make_study))
    if name == "bulyan":
        with pytest.raises(NothingLearned):
            strategy.combine(1, given)
    else:
        assert all(np.isfinite(array).all() for array in strategy.combine(1, given).values())


ROBUST = {
    "fedmedian": {},
    "fedtrimmedavg": {"beta": 0.2},
    "krum": {"num_malicious_sites": 1},
    "multikrum": {"num_malicious_sites": 1, "num_sites_to_select": 4},
    "bulyan": {"num_malicious_sites": 1},
}


def attacked(strategy: Strategy, factor: float, position: int) -> float:
    """Largest value of the combined change when one of seven sites multiplies its update."""
    given = contributions(np.random.default_rng(6), 7)
    one = given[position]
    given[position] = Contribution(
        one.site,
        1,
        "",
        {key: array * np.float32(factor) for key, array in one.delta.items()},
        one.cases,
        one.loss,
        one.base_loss,
    )
    return max(float(np.abs(array).max()) for array in strategy.combine(1, given).values())


@pytest.mark.parametrize("position", [0, 3, 6])
@pytest.mark.parametrize("factor", [1e6, -1e6])
@pytest.mark.parametrize("name", sorted(ROBUST))
def test_a_robust_strategy_withstands_one_loud_site(
    make_study: MakeStudy, name: str, factor: float, position: int
) -> None:
    assert attacked(build_strategy(choice(name, make_study, **ROBUST[name])), factor, position) < 1.0


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "fedavgm"])
def test_a_mean_does_not(make_study: MakeStudy, name: str) -> None:
    assert attacked(build_strategy(choice(name, make_study)), 1e6, 3) > 1e3


def test_krum_chooses_rightly_where_weights_in_float32_would_not(make_study: MakeStudy) -> None:
    # Seven sites near each other on a large base, one in the middle of the rest: |x|^2 + |y|^2 - 2 x.y on
    # the weights is 1e9 and its differences are 1e-5.
    rng = np.random.default_rng(7)
    base = {"w": np.full(2000, 1000.0, dtype=np.float32)}
    directions = rng.normal(0, 1e-4, (7, 2000)) * np.array([[3], [2.5], [4], [1], [3.5], [2], [5]])
    given = [
        Contribution(f"s{n}", 1, "", {"w": row.astype(np.float32)}, 10, 1.0)
        for n, row in enumerate(directions)
    ]
    combined = build_strategy(choice("krum", make_study, num_malicious_sites=1)).combine(1, given)["w"]
    np.testing.assert_array_equal(combined, given[3].delta["w"].astype(np.float64))

    messages = [
        free_message(
            RecordDict({"a": record(dict(Moved(base, one.delta))), "m": MetricRecord({"num-examples": 10})}),
            "train",
        )
        for one in given
    ]
    chosen, _ = flower.Krum(num_malicious_nodes=1).aggregate_train(1, messages)
    assert chosen is not None and not np.array_equal(
        chosen["w"].numpy(), dict(Moved(base, given[3].delta))["w"]
    )


@pytest.mark.parametrize("name", STRATEGY_NAMES)
def test_terms_are_asked_by_those_who_need_them(make_study: MakeStudy, name: str) -> None:
    terms = build_strategy(choice(name, make_study, **OPTIONS[name])).terms
    expected = {"fedprox": ClientTerms(proximal_mu=0.3), "qfedavg": ClientTerms(base_loss=True)}
    assert terms == expected.get(name, ClientTerms())


def test_qfedavg_weighs_by_the_loss_of_the_base_model(make_study: MakeStudy) -> None:
    def combined(base_losses: tuple[float, float], losses: tuple[float, float]) -> float:
        given = [
            Contribution(f"s{n}", 1, "", {"w": np.array([value], np.float32)}, 10, loss, base_loss)
            for n, (value, loss, base_loss) in enumerate(zip((1.0, -1.0), losses, base_losses, strict=True))
        ]
        return float(build_strategy(choice("qfedavg", make_study, q=1.0)).combine(1, given)["w"][0])

    assert combined((1.0, 1.0), (9.0, 0.1)) == pytest.approx(0.0, abs=1e-12)
    assert combined((4.0, 1.0), (1.0, 1.0)) > 0.2 > -0.2 > combined((1.0, 4.0), (1.0, 1.0))


def test_flower_does_not_write_on_the_terminal(
    make_study: MakeStudy, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in STRATEGY_NAMES:
        build_strategy(choice(name, make_study)).combine(1, contributions(np.random.default_rng(0), 3))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["krum", "multikrum"])
def test_krum_with_too_few_updates_for_its_malicious_sites_learns_nothing(name: str) -> None:
    choice = parse_study(
        {
            "study": {"name": "x", "labels": {"0": "a", "1": "b"}},
            "federation": {"strategy": {"name": name, "num_malicious_sites": 1}},
        }
    ).federation.strategy
    delta = {"w": np.ones(3, dtype=np.float32)}
    four = [Contribution(f"s{n}", 1, "", delta, 1, 0.5) for n in range(4)]
    with pytest.raises(NothingLearned, match="needs 5 updates, 4 came"):
        build_strategy(choice).combine(1, four)
