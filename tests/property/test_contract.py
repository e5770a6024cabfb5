"""Contracts have one spelling, and nothing that differs from one in a byte passes."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import ConfigRecord, RecordDict
from hypothesis import assume, given
from hypothesis import strategies as st

from common.chain import canonical
from common.contract import (
    Contract,
    contract_of,
    differences,
    leavings_of,
    metrics_of,
    model_digest,
    read_contract,
    seal_contract,
)
from common.contract.task import require_within
from common.errors import ContractInvalid, TaskOutsideContract
from common.link.envelope import Sealed
from common.models import initial_weights
from common.study import STRATEGY_NAMES, Study
from common.tasks import ABOUT, Describe, EvaluateTask, TrainTask, task_content, weights_record
from tests.conftest import small_study

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
BEGAN = datetime(2026, 1, 2, tzinfo=UTC)
FEDERATION = "fed-1"
SECTIONS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "federation": st.fixed_dictionaries(
            {"rounds": st.integers(1, 100), "strategy": st.sampled_from(STRATEGY_NAMES)}
        ),
        "model": st.fixed_dictionaries(
            {"hidden": st.integers(1, 4), "cell": st.sampled_from(["gru", "lstm"])}
        ),
        "data": st.fixed_dictionaries({"min_cases": st.integers(1, 9), "modality": st.just(["CR"])}),
        "training": st.fixed_dictionaries({"class_weights": st.sampled_from(["none", "balanced"])}),
    },
)


def made(sections: dict[str, Any], seed: int = 5, days: int = 1, code: str = "0" * 64) -> Contract:
    study = small_study(**sections)
    return Contract.of_study(
        study,
        federation=FEDERATION,
        seed=seed,
        code_digest=code,
        model_digest=model_digest(initial_weights(study, 0)),
        issued=BEGAN,
        expires=BEGAN + timedelta(days=days),
    )


CONTRACTS = st.builds(
    made,
    SECTIONS,
    st.integers(0, 2**40),
    st.integers(1, 1000),
    st.text("0123456789abcdef", min_size=64, max_size=64),
)


def shuffled(value: Any, order: random.Random) -> Any:
    """The same JSON with the keys of every object in another order."""
    if isinstance(value, dict):
        keys = list(value)
        order.shuffle(keys)
        return {key: shuffled(value[key], order) for key in keys}
    return [shuffled(item, order) for item in value] if isinstance(value, list) else value


@given(CONTRACTS, st.randoms(use_true_random=False))
def test_the_bytes_are_a_function_of_the_content_alone(contract: Contract, order: random.Random) -> None:
    again = contract_of(shuffled(json.loads(contract.canonical()), order))
    assert again == contract and again.canonical() == contract.canonical() and again.digest == contract.digest
    assert canonical(json.loads(contract.canonical())) == contract.canonical()
    assert read_contract(seal_contract(contract, KEY, BEGAN), KEY.public_key(), FEDERATION, BEGAN) == contract


@given(CONTRACTS, CONTRACTS)
def test_contracts_are_the_same_where_their_digest_is_and_no_line_tells_of_a_change(
    one: Contract, other: Contract
) -> None:
    assert (one == other) == (one.digest == other.digest) == (differences(one, other) == ())
    assert differences(one, one) == ()


SIGNED = seal_contract(made({}), KEY, BEGAN)


@given(st.data())
def test_a_contract_that_was_changed_in_any_byte_is_refused(data: st.DataObject) -> None:
    part = data.draw(st.sampled_from(["body", "signature"]))
    content = bytearray(getattr(SIGNED, part))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    changed = {"body": SIGNED.body, "signature": SIGNED.signature, part: bytes(content)}
    with pytest.raises(ContractInvalid):
        read_contract(Sealed(**changed), KEY.public_key(), FEDERATION, BEGAN)


@given(st.data())
def test_a_signed_contract_that_says_something_else_than_its_study_is_refused(data: st.DataObject) -> None:
    """Also the coordinator itself cannot show a hospital other terms than those that will run."""
    document = json.loads(made({}).canonical())
    free = ("code_digest", "model_digest", "seed", "expires", "issued", "release", "federation")
    key = data.draw(st.sampled_from([key for key in document if key not in free]))
    value: Any = data.draw(st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just([]))
    assume(canonical({"": value}) != canonical({"": document[key]}))
    with pytest.raises(ContractInvalid):
        contract_of({**document, key: value})


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(), lambda inner: st.lists(inner)
    ),
    st.sampled_from(sorted(json.loads(made({}).canonical()))),
)
def test_whatever_stands_in_a_contract_it_is_refused_or_read(value: Any, key: str) -> None:
    document = {**json.loads(made({}).canonical()), key: value}
    with suppress(ContractInvalid):
        assert contract_of(document).document.keys() == document.keys()


# Tasks

AGREED = made({"federation": {"rounds": 9, "strategy": "fedprox"}, "training": {"class_weights": "balanced"}})
WEIGHTS = initial_weights(AGREED.resolved_study(), 5)
TRAIN = TrainTask(AGREED.study, 5, 3, "ab" * 32, AGREED.bounds.proximal_mu, (1.5, 0.75))
EVALUATE = EvaluateTask(AGREED.study, 3, "ab" * 32)
Asked = tuple[str, Callable[[], RecordDict]]
TASKS: dict[str, Callable[[], RecordDict]] = {
    "query": lambda: task_content(Describe(AGREED.study)),
    "train": lambda: task_content(TRAIN, weights_record(WEIGHTS)),
    "evaluate": lambda: task_content(EVALUATE, weights_record(WEIGHTS)),
}


def refused(message_type: str, **changes: Any) -> None:
    content = TASKS[message_type]()
    content[ABOUT] = ConfigRecord({**content.config_records[ABOUT], **changes})
    with pytest.raises(TaskOutsideContract):
        require_within(AGREED, message_type, content)


@pytest.mark.parametrize("message_type", TASKS)
def test_the_tasks_that_are_changed_below_pass_as_they_are(message_type: str) -> None:
    require_within(AGREED, message_type, TASKS[message_type]())


@given(st.sampled_from(sorted(TASKS)), st.integers(0, len(AGREED.study) - 1), st.characters(codec="utf-8"))
def test_a_study_text_that_differs_in_one_character_is_refused(
    message_type: str, place: int, other: str
) -> None:
    assume(other != AGREED.study[place])
    for text in (
        AGREED.study[:place] + other + AGREED.study[place + 1 :],
        AGREED.study[:place] + AGREED.study[place + 1 :],
        AGREED.study[:place] + other + AGREED.study[place:],
    ):
        assume(text != AGREED.study)
        refused(message_type, study=text)


@given(st.integers(-(2**63), 2**63 - 1))
def test_another_seed_and_a_round_beyond_are_refused(number: int) -> None:
    if number != 5:
        refused("train", seed=number)
    if not 1 <= number <= 9:
        refused("train", round=number)
        refused("evaluate", round=number)


@given(st.floats())
def test_another_mu_is_refused(mu: float) -> None:
    assume(mu != TRAIN.proximal_mu)
    refused("train", proximal_mu=mu)


@given(st.integers(0, 1), st.floats() | st.floats(0.7, 1.6))
def test_one_class_weight_that_is_another_is_refused(which: int, weight: float) -> None:
    weights = [1.5, 0.75]
    assume(not math.isclose(weight, weights[which], rel_tol=1e-8))
    weights[which] = weight
    refused("train", class_weights=weights)


@given(st.lists(st.floats(0.01, 100.0), max_size=5).filter(lambda weights: len(weights) != 2))
def test_another_number_of_class_weights_is_refused(weights: list[float]) -> None:
    refused("train", class_weights=weights)


@given(st.text(max_size=20).filter(lambda kind: kind not in TASKS), st.sampled_from(sorted(TASKS)))
def test_another_type_of_message_is_refused(kind: str, message_type: str) -> None:
    with pytest.raises(TaskOutsideContract):
        require_within(AGREED, kind, TASKS[message_type]())


@given(SECTIONS)
def test_what_leaves_is_named_once_and_by_names_that_a_policy_knows(sections: dict[str, Any]) -> None:
    study: Study = small_study(**sections)
    names = [each.what for each in leavings_of(study)]
    assert len(names) == len(set(names)) and {"description", "update", "weight"} <= set(names)
    assert metrics_of(study) <= set(names) and all(str(each).isprintable() for each in leavings_of(study))
