"""A round averages what is sound; whatever goes wrong at a site costs that site's reply and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import MessageType, RecordDict

from client.manifest import Row, write_manifest
from client.site import Site
from common.errors import NothingLearned, QuorumNotReached
from common.metrics import ClassificationSums
from common.study import STRATEGY_NAMES
from common.weights import Weights, digest, subtract

Gather = Callable[..., Any]
EVALUATE = MessageType.EVALUATE
OTHERS = ("alder", "birch", "dogwood")
NAME = "head.weight"  # (2, 4) in the small study

NPY = b"\x93NUMPY\x01\x00"
HUGE = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000,), }\n"
TORN = b"{'descr': '<f4', 'fortran_order': False, 'shape': ((((2,), \n"


def npy(header: bytes) -> bytes:
    return NPY + len(header).to_bytes(2, "little") + header


def one(change: Callable[[Any], Any], name: str = NAME) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A change of one array alone."""
    return lambda arrays: {**arrays, name: np.asarray(change(arrays[name]))}


def with_nan(array: Any) -> Any:
    array = array.copy()
    array.flat[-1] = np.nan
    return array


def twice(content: RecordDict) -> RecordDict:
    return RecordDict({**content, "more": content["arrays"]})


FAULTS = [
    pytest.param("no-reply", lambda f: f.lost(), id="lost"),
    pytest.param("no-reply", lambda f: f.late(5.0), id="late"),
    pytest.param("no-reply", lambda f: f.error(), id="error"),
    pytest.param("no-reply", lambda f: f.not_accepted(), id="not accepted"),
    pytest.param("policy", lambda f: f.refused(), id="refused"),
    pytest.param("task-invalid", lambda f: f.content(lambda c: RecordDict()), id="empty"),
    pytest.param(
        "task-invalid", lambda f: f.content(lambda c: RecordDict({"about": c["about"]})), id="no arrays"
    ),
    pytest.param(
        "task-invalid", lambda f: f.content(lambda c: RecordDict({"arrays": c["arrays"]})), id="no fields"
    ),
    pytest.param("task-invalid", lambda f: f.says(cases=None), id="no weight"),
    pytest.param("task-invalid", lambda f: f.says(cases=10.0), id="weight as a float"),
    pytest.param("task-invalid", lambda f: f.says(cases=True), id="weight as a bool"),
    pytest.param("task-invalid", lambda f: f.says(loss="low"), id="loss as a text"),
    pytest.param("task-invalid", lambda f: f.bytes(b""), id="no bytes"),
    pytest.param("task-invalid", lambda f: f.bytes(b"\x80\x04N."), id="pickle"),
    pytest.param("task-invalid", lambda f: f.bytes(b"PK\x03\x04"), id="broken archive"),
    pytest.param("task-invalid", lambda f: f.bytes(b"PK\x05\x06" + 18 * b"\0"), id="empty archive"),
    pytest.param("task-invalid", lambda f: f.bytes(npy(HUGE)), id="more than fits in memory"),
    pytest.param("task-invalid", lambda f: f.bytes(npy(TORN)), id="torn header"),
    pytest.param("update-refused", lambda f: f.says(cases=0), id="weight 0"),
    pytest.param("update-refused", lambda f: f.says(cases=-1), id="weight -1"),
    pytest.param("update-refused", lambda f: f.says(cases=10**9), id="weight 1e9"),
    pytest.param("update-refused", lambda f: f.says(loss=float("nan")), id="loss NaN"),
    pytest.param("update-refused", lambda f: f.says(site="alder"), id="another site's name"),
    pytest.param("update-refused", lambda f: f.says(round=2), id="another round"),
    pytest.param("update-refused", lambda f: f.says(base_digest="0" * 64), id="another base"),
    pytest.param("update-refused", lambda f: f.arrays(one(with_nan)), id="NaN"),
    pytest.param("update-refused", lambda f: f.arrays(one(lambda a: a + np.inf)), id="infinite"),
    pytest.param("update-refused", lambda f: f.arrays(one(lambda a: a.T)), id="transposed"),
    pytest.param("update-refused", lambda f: f.arrays(one(lambda a: a[:1])), id="broadcastable"),
    pytest.param("update-refused", lambda f: f.arrays(one(np.float64)), id="float64"),
    pytest.param("update-refused", lambda f: f.arrays(lambda a: {}), id="no array"),
    pytest.param(
        "update-refused",
        lambda f: f.arrays(lambda a: {n: v for n, v in a.items() if n != NAME}),
        id="array missing",
    ),
    pytest.param("update-refused", lambda f: f.arrays(lambda a: {**a, "x": a[NAME]}), id="array too many"),
]


def equal(first: Weights, second: Weights) -> bool:
    return list(first) == list(second) and all(np.array_equal(first[n], second[n]) for n in first)


@pytest.fixture(scope="module")
def without_cedar() -> dict[str, Any]:
    """Rounds of the three other sites, by strategy: what a fault at cedar must not change."""
    return {}


@pytest.mark.parametrize(("code", "fault"), FAULTS)
def test_a_fault_costs_that_reply_and_nothing_else(
    federation: Gather, faults: Any, without_cedar: dict[str, Any], code: str, fault: Callable[[Any], Any]
) -> None:
    if "fedavg" not in without_cedar:
        others = federation(*OTHERS)
        without_cedar["fedavg"] = others.engine.train(1, others.base)
    made = federation(faults={"cedar": fault(faults)}, federation={"deadline_s": 0.4})
    began = time.monotonic()
    trained = made.engine.train(1, made.base)
    assert time.monotonic() - began < 4.0
    assert [c.site for c in trained.contributions] == list(OTHERS)
    assert list(trained.missing) == ["cedar"]
    assert trained.missing["cedar"].startswith(f"{code}: ")
    # The study's deadline differs, the training does not.
    assert equal(trained.weights, without_cedar["fedavg"].weights)


def test_a_round_is_the_mean_weighted_by_cases(federation: Gather) -> None:
    made = federation()
    trained = made.engine.train(1, made.base)
    total = sum(c.cases for c in trained.contributions)
    assert [(c.site, c.cases) for c in trained.contributions] == [
        ("alder", 6), ("birch", 8), ("cedar", 10), ("dogwood", 5),
    ]  # fmt: skip
    for name, array in made.base.items():
        mean = sum(c.cases * c.delta[name].astype(np.float64) for c in trained.contributions) / total
        np.testing.assert_array_equal(trained.weights[name], (array + mean).astype(np.float32), err_msg=name)


@pytest.mark.parametrize("strategy", STRATEGY_NAMES)
def test_a_round_does_not_depend_on_who_answers_first(federation: Gather, strategy: str) -> None:
    results = []
    for order in (0, 1):
        made = federation(order=order, federation={"strategy": strategy})
        results.append(made.engine.train(1, made.base).weights)
    assert equal(results[0], results[1])


@pytest.mark.parametrize(
    ("strategy", "site"),
    [
        *((name, "alder") for name in STRATEGY_NAMES),
        ("fedavgm", "cedar"),
        ("bulyan", "cedar"),
        ("qfedavg", "cedar"),
    ],
)
def test_a_round_does_not_depend_on_the_order_of_arrays(
    federation: Gather, faults: Any, strategy: str, site: str
) -> None:
    results = []
    for fault in (faults.arrays(lambda a: a), faults.arrays(lambda a: dict(reversed(a.items())))):
        made = federation(faults={site: fault}, federation={"strategy": strategy})
        results.append(made.engine.train(1, made.base))
    assert results[1].missing == {}
    assert equal(results[0].weights, results[1].weights)


def test_the_same_seed_gives_the_same_rounds(federation: Gather) -> None:
    digests = []
    for seed in (0, 0, 1):
        made, weights = federation(seed=seed), None
        for number in (1, 2):
            weights = made.engine.train(number, weights or made.base).weights
        digests.append(digest(weights))
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("count", [2, 3])
def test_below_the_quorum_the_round_names_who_is_missing_and_why(
    federation: Gather, faults: Any, count: int
) -> None:
    broken = {"alder": faults.refused(), "birch": faults.says(cases=0), "cedar": faults.error()}
    made = federation(
        faults=dict(list(broken.items())[:count]), federation={"min_sites": 5 - count, "deadline_s": 2.0}
    )
    with pytest.raises(QuorumNotReached) as caught:
        made.engine.train(1, made.base)
    told = caught.value.private
    assert f"round 1: {4 - count} usable updates, {5 - count} needed" in told
    assert "alder: policy" in told and "birch: update-refused" in told
    assert ("cedar: no-reply" in told) == (count == 3)
    assert "dogwood" not in told


def test_a_round_that_everybody_refuses_is_no_round(federation: Gather, faults: Any) -> None:
    made = federation(faults=dict.fromkeys(("alder", "birch", "cedar", "dogwood"), faults.refused()))
    with pytest.raises(QuorumNotReached, match="0 usable updates"):
        made.engine.train(1, made.base)


def test_a_round_with_nobody_there_is_no_round(federation: Gather) -> None:
    made = federation()
    made.grid.sites.clear()
    with pytest.raises(QuorumNotReached, match="0 usable updates"):
        made.engine.train(1, made.base)


def test_updates_that_change_nothing_are_no_round(federation: Gather, faults: Any) -> None:
    still = faults.arrays(lambda arrays: {n: np.zeros_like(a) for n, a in arrays.items()})
    made = federation(faults=dict.fromkeys(("alder", "birch", "cedar", "dogwood"), still))
    with pytest.raises(NothingLearned, match="change nothing"):
        made.engine.train(1, made.base)


def test_too_few_for_a_robust_strategy_is_no_round(federation: Gather) -> None:
    made = federation(federation={"strategy": {"name": "bulyan", "num_malicious_sites": 1}})
    with pytest.raises(NothingLearned, match="Bulyan needs more than the 4"):
        made.engine.train(1, made.base)


def test_the_deadline_ends_a_round(federation: Gather, faults: Any) -> None:
    made = federation(faults={"alder": faults.late(30.0)}, federation={"deadline_s": 0.4})
    began = time.monotonic()
    trained = made.engine.train(1, made.base)
    assert 0.4 <= time.monotonic() - began < 5.0
    assert trained.missing == {"alder": "no-reply: no reply within 0.4 s"}


def test_a_late_reply_does_not_count_in_the_next_round(federation: Gather, faults: Any) -> None:
    made = federation(faults={"alder": faults.late(0.5)}, federation={"deadline_s": 0.4})
    first = made.engine.train(1, made.base)
    made.grid.faults.clear()
    time.sleep(0.2)
    second = made.engine.train(2, first.weights)
    assert [c.round for c in second.contributions] == [2, 2, 2, 2]


def test_only_the_chosen_sites_are_asked(federation: Gather) -> None:
    made = federation(federation={"fraction_sites": 0.5, "min_sites": 1})
    chosen = []
    for number in range(1, 7):
        made.grid.asked.clear()
        trained = made.engine.train(number, made.base)
        asked = sorted(site for kind, site in made.grid.asked if kind == MessageType.TRAIN)
        assert [c.site for c in trained.contributions] == asked and len(asked) == 2
        assert trained.missing == {}
        chosen.append(tuple(asked))
    assert len(set(chosen)) > 1


def test_sites_that_refused_to_take_part_are_named_in_every_round(federation: Gather) -> None:
    made = federation(data={"min_cases": 6})
    for number in (1, 2):
        trained = made.engine.train(number, made.base)
        assert [c.site for c in trained.contributions] == ["alder", "birch", "cedar"]
        assert trained.missing["dogwood"].startswith("site-too-small: ")


def test_sites_join_and_leave_between_rounds(federation: Gather, site_of: Callable[..., Site]) -> None:
    made = federation("alder", "birch")
    first = made.engine.train(1, made.base)
    made.grid.leave("alder")
    made.grid.join(11, site_of("cedar"))
    second = made.engine.train(2, first.weights)
    assert [c.site for c in second.contributions] == ["birch", "cedar"]
    made.grid.join(12, site_of("alder"))
    third = made.engine.train(3, second.weights)
    assert [c.site for c in third.contributions] == ["alder", "birch", "cedar"]


def test_two_nodes_with_one_name_are_one_site(federation: Gather, site_of: Callable[..., Site]) -> None:
    made = federation("alder", "birch", "birch")
    trained = made.engine.train(1, made.base)
    assert [c.site for c in trained.contributions] == ["alder", "birch"]
    assert [reason.split(":")[0] for reason in trained.missing.values()] == ["site-twice"]
    alone = federation("alder", "birch")
    assert equal(trained.weights, alone.engine.train(1, alone.base).weights)


def test_balanced_weights_come_from_the_counts_of_all_sites(
    federation: Gather,
) -> None:
    # alder has 3 training cases of each class, dogwood 3 and 2: 11 / (2 * 6) and 11 / (2 * 5).
    made = federation("alder", "dogwood", training={"class_weights": "balanced"})
    made.engine.train(1, made.base)
    tasks = [sent["about"] for kind, sent in made.grid.sent if kind == MessageType.TRAIN]
    assert [task["class_weights"] for task in tasks] == [pytest.approx([11 / 12, 11 / 10])] * 2


@pytest.mark.parametrize(
    ("strategy", "terms"),
    [
        ("fedavg", (0.0, False)),
        ({"name": "fedprox", "proximal_mu": 0.3}, (0.3, False)),
        ("qfedavg", (0.0, True)),
    ],
)
def test_a_strategys_terms_reach_the_sites(
    federation: Gather, strategy: Any, terms: tuple[float, bool]
) -> None:
    made = federation(federation={"strategy": strategy})
    trained = made.engine.train(1, made.base)
    tasks = [sent["about"] for kind, sent in made.grid.sent if kind == MessageType.TRAIN]
    assert [(task["proximal_mu"], task["base_loss"]) for task in tasks] == [terms] * 4
    assert {c.base_loss is not None for c in trained.contributions} == {terms[1]}


def test_a_proximal_term_keeps_the_round_shorter(federation: Gather) -> None:
    def moved(mu: float) -> float:
        made = federation(
            federation={"strategy": {"name": "fedprox", "proximal_mu": mu}},
            training={"local_epochs": 5, "optimizer": "sgd", "learning_rate": 0.1},
        )
        change = subtract(made.engine.train(1, made.base).weights, made.base)
        return float(sum(np.square(a).sum() for a in change.values()))

    assert moved(5.0) < moved(0.0) / 2


# Evaluation


def test_counts_of_all_sites_add_up(federation: Gather) -> None:
    made = federation()
    counted = made.engine.evaluate(1, made.base)
    assert {site: e.sums.n for site, e in counted.items()} == {
        "alder": 2,
        "birch": 4,
        "cedar": 2,
        "dogwood": 2,
    }
    assert list(counted) == sorted(counted)
    total = ClassificationSums.total([e.sums for e in counted.values()])
    assert total.n == 10 and not total.exact


def test_sites_without_test_cases_are_not_asked(federation: Gather, hospitals: Path, tmp_path: Path) -> None:
    rows = [
        Row(str(hospitals.parent / f"alder-{i:02d}.png"), "elm", f"p{i}", "train", "0", i) for i in range(4)
    ]
    write_manifest(tmp_path / "elm.csv", rows)
    made = federation("alder", "birch", data={"min_test_cases": 0})
    made.grid.join(9, Site("elm", str(tmp_path / "elm.csv"), "cpu"))
    trained = made.engine.train(1, made.base)
    assert [c.site for c in trained.contributions] == ["alder", "birch", "elm"]
    made.grid.asked.clear()
    assert list(made.engine.evaluate(1, trained.weights)) == ["alder", "birch"]
    assert sorted(site for _, site in made.grid.asked) == ["alder", "birch"]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda f: f.lost(EVALUATE), id="lost"),
        pytest.param(lambda f: f.late(5.0, EVALUATE), id="late"),
        pytest.param(lambda f: f.error(EVALUATE), id="error"),
        pytest.param(lambda f: f.refused(EVALUATE), id="refused"),
        pytest.param(lambda f: f.content(lambda c: RecordDict(), EVALUATE), id="empty"),
        pytest.param(lambda f: f.says(EVALUATE, site="alder"), id="another site"),
        pytest.param(lambda f: f.says(EVALUATE, base_digest="0" * 64), id="another model"),
        pytest.param(lambda f: f.says(EVALUATE, loss="low"), id="loss as a text"),
        pytest.param(lambda f: f.says(EVALUATE, loss=float("nan")), id="loss NaN"),
        pytest.param(lambda f: f.says(EVALUATE, loss=float("inf")), id="loss infinite"),
        pytest.param(lambda f: f.says(EVALUATE, loss=-1.0), id="loss below zero"),
        pytest.param(lambda f: f.bytes(b"PK\x03\x04", "labels", EVALUATE), id="broken archive"),
        pytest.param(lambda f: f.arrays(lambda a: {}, EVALUATE), id="no counts"),
        pytest.param(lambda f: f.arrays(one(lambda a: a[:1], "confusion"), EVALUATE), id="shape"),
        pytest.param(lambda f: f.arrays(one(lambda a: -a, "confusion"), EVALUATE), id="negative counts"),
        pytest.param(lambda f: f.arrays(one(lambda a: a + np.nan, "calibration"), EVALUATE), id="NaN"),
        pytest.param(lambda f: f.arrays(one(lambda a: a.astype(str), "confusion"), EVALUATE), id="text"),
        pytest.param(
            lambda f: f.arrays(one(lambda a: a * 10**9, "confusion"), EVALUATE), id="too many cases"
        ),
        pytest.param(lambda f: f.arrays(one(lambda a: a.sum(), "labels"), EVALUATE), id="labels a scalar"),
        pytest.param(lambda f: f.arrays(one(lambda a: a[:1], "labels"), EVALUATE), id="labels too short"),
        pytest.param(lambda f: f.arrays(one(lambda a: a + 7, "labels"), EVALUATE), id="labels of no class"),
        pytest.param(lambda f: f.arrays(one(lambda a: a * np.nan, "scores"), EVALUATE), id="scores NaN"),
        pytest.param(lambda f: f.arrays(one(lambda a: a.astype(str), "scores"), EVALUATE), id="scores text"),
        pytest.param(lambda f: f.arrays(one(lambda a: a * 5, "scores"), EVALUATE), id="scores above one"),
    ],
)
def test_counts_that_are_none_cost_that_site_alone(
    federation: Gather, faults: Any, fault: Callable[[Any], Any]
) -> None:
    made = federation(faults={"cedar": fault(faults)}, federation={"deadline_s": 0.4})
    made.grid.sites = {node: replace(site, share_scores=True) for node, site in made.grid.sites.items()}
    counted = made.engine.evaluate(1, made.base)
    assert list(counted) == list(OTHERS)
    total = ClassificationSums.total([e.sums for e in counted.values()])
    assert total.n == 8 and total.exact


def test_a_hospital_cannot_count_more_cases_than_it_has_described(federation: Gather, faults: Any) -> None:
    many = faults.arrays(one(lambda a: a * 10**9, "confusion"), EVALUATE)
    made = federation(faults={"cedar": many})
    assert list(made.engine.evaluate(1, made.base)) == list(OTHERS)


def test_a_model_that_nobody_counts_has_no_counts(federation: Gather, faults: Any) -> None:
    names = ("alder", "birch", "cedar", "dogwood")
    made = federation(faults=dict.fromkeys(names, faults.refused(EVALUATE)))
    assert made.engine.evaluate(1, made.base) == {}
