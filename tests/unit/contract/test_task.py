"""A task is within a contract or it is not: each field, each record, and what the coordinator sends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from common.contract import Contract
from common.contract.task import require_within
from common.errors import TaskOutsideContract
from common.study import STRATEGY_NAMES
from common.tasks import ABOUT, ARRAYS, weights_record
from tests.unit.contract.drafts import contract_with, fields_of, study_with, task_of

TYPES = ("query", "train", "evaluate")
BALANCED = {"training": {"class_weights": "balanced"}}
HEAD = "12:" + "ab" * 32


def refused(contract: Contract, message_type: str, content: RecordDict) -> str:
    with pytest.raises(TaskOutsideContract) as caught:
        require_within(contract, message_type, content)
    return caught.value.private


@pytest.mark.parametrize("message_type", TYPES)
def test_what_was_agreed_passes(message_type: str) -> None:
    for study in (study_with(), study_with(**BALANCED), study_with(federation={"strategy": "qfedavg"})):
        contract = contract_with(study)
        require_within(contract, message_type, task_of(contract, message_type))


def test_the_last_round_passes_and_a_ledger_head_does() -> None:
    contract = contract_with()
    require_within(contract, "train", task_of(contract, "train", round=3, ledger_head=HEAD))
    require_within(contract, "evaluate", task_of(contract, "evaluate", round=3))


@pytest.mark.parametrize(
    ("message_type", "change"),
    [
        *((kind, {"study": text}) for kind in TYPES for text in ("", "{}")),
        *((kind, {"round": number}) for kind in ("train", "evaluate") for number in (0, -1, 4, 2**62, 1.0)),
        *((kind, {"base_digest": text}) for kind in ("train", "evaluate") for text in ("", "AB" * 32)),
        *(("train", {"seed": seed}) for seed in (6, 8, 0, -7, 7.0, True, "7")),
        *(("train", {"proximal_mu": mu}) for mu in (1e-9, -0.01, float("nan"), float("inf"), "0")),
        *(("train", {"class_weights": w}) for w in ([1.0], [1.0, 1.0], [0.0, 0.0])),
        *(("train", {"ledger_head": head}) for head in ("1", HEAD + " ", "x")),
        ("train", {"base_loss": True}),
        ("train", {"surplus": 1}),
        ("query", {"round": 1}),
    ],
)
def test_anything_else_does_not(message_type: str, change: dict[str, Any]) -> None:
    contract = contract_with()
    refused(contract, message_type, task_of(contract, message_type, **change))


@pytest.mark.parametrize("message_type", TYPES)
def test_a_task_without_one_of_its_fields_does_not(message_type: str) -> None:
    contract = contract_with()
    for name in fields_of(message_type):
        content = task_of(contract, message_type)
        about = dict(content.config_records[ABOUT])
        if about.pop(name, None) is None:
            continue  # one that may be left unsaid, and is
        content[ABOUT] = ConfigRecord(about)
        refused(contract, message_type, content)


def test_validation_cases_are_counted_after_the_last_round_alone() -> None:
    contract = contract_with()
    last = contract.bounds.rounds
    require_within(contract, "evaluate", task_of(contract, "evaluate", round=last, split="val"))
    refused(contract, "evaluate", task_of(contract, "evaluate", round=last - 1, split="val"))
    for split in ("train", "test", ""):
        refused(contract, "evaluate", task_of(contract, "evaluate", round=last, split=split))
    without = contract_with(study_with(federation={"calibrate": "off"}))
    refused(without, "evaluate", task_of(without, "evaluate", round=without.bounds.rounds, split="val"))


def test_with_patience_validation_cases_are_counted_after_every_test() -> None:
    patience = {"rounds": 5, "evaluate_every": 2, "patience": 1, "calibrate": "off"}
    contract = contract_with(study_with(federation=patience))
    for number in (2, 4, 5):
        require_within(contract, "evaluate", task_of(contract, "evaluate", round=number, split="val"))
    for number in (1, 3):
        refused(contract, "evaluate", task_of(contract, "evaluate", round=number, split="val"))


def test_fedprox_has_the_mu_that_was_agreed() -> None:
    contract = contract_with(study_with(federation={"strategy": {"name": "fedprox", "proximal_mu": 0.1}}))
    require_within(contract, "train", task_of(contract, "train"))
    for mu in (0.0, 0.05, 0.1 + 1e-16 * 2, 0.2):
        assert "proximal_mu" in refused(contract, "train", task_of(contract, "train", proximal_mu=mu))


@pytest.mark.parametrize(
    "weights",
    [
        [],
        [1.0],
        [1.5, 0.75, 1.0],
        [1.5, 0.76],
        [1.5, 0.7500001],
        [1e6, 1e6],
        [1e-6, 1.0],
        [-1.5, 0.375],
        [0.0, 0.0],
        [0.0, 2.0],
        [float("nan"), 0.5],
        [float("inf"), 0.5],
    ],
)
def test_class_weights_that_no_counts_give_are_refused(weights: list[float]) -> None:
    contract = contract_with(study_with(**BALANCED))
    assert "class_weights" in refused(contract, "train", task_of(contract, "train", class_weights=weights))


def test_a_class_that_no_site_has_weighs_nothing() -> None:
    contract = contract_with(study_with(**BALANCED))
    require_within(contract, "train", task_of(contract, "train", class_weights=[0.0, 1.0]))


@pytest.mark.parametrize("message_type", ["", "train.other", "TRAIN", "query ", "system"])
def test_other_types_of_message_are_refused(message_type: str) -> None:
    contract = contract_with()
    assert "message type" in refused(contract, message_type, task_of(contract, "train"))


def test_a_type_that_was_not_agreed_is_refused() -> None:
    contract = replace(contract_with(), tasks=("query",))
    refused(contract, "train", task_of(contract, "train"))


@pytest.mark.parametrize(
    ("message_type", "spoil"),
    [
        ("train", lambda content: content.pop(ARRAYS)),
        ("train", lambda content: content.pop(ABOUT)),
        ("train", lambda content: content.update({"more": ConfigRecord({"a": 1})})),
        ("evaluate", lambda content: content.update({"more": MetricRecord({"a": 1})})),
        ("query", lambda content: content.update({ARRAYS: weights_record({})})),
        ("train", lambda content: content.update({ARRAYS: ArrayRecord()})),
    ],
)
def test_records_too_many_or_too_few_are_refused(
    message_type: str, spoil: Callable[[RecordDict], Any]
) -> None:
    contract = contract_with()
    content = task_of(contract, message_type)
    spoil(content)
    refused(contract, message_type, content)


def test_another_model_is_refused() -> None:
    contract, other = contract_with(), contract_with(study_with(model={"hidden": 3}))
    content = task_of(contract, "train")
    content[ARRAYS] = task_of(other, "train")[ARRAYS]
    assert "arrays" in refused(contract, "train", content)


@pytest.mark.parametrize("name", STRATEGY_NAMES)
def test_all_that_the_round_engine_sends_is_within_the_contract(
    federation: Callable[..., Any], name: str
) -> None:
    sections = {"federation": {"strategy": name, "deadline_s": 10.0, "rounds": 2}}
    made = federation(seed=3, **sections, **(BALANCED if name == "fedavg" else {}))
    weights = made.engine.train(1, made.base).weights
    made.engine.evaluate(1, weights)
    contract = contract_with(made.study, seed=3)
    sent = made.grid.sent
    assert {kind for kind, _ in sent} == set(TYPES)
    for kind, content in sent:
        require_within(contract, kind, content)
