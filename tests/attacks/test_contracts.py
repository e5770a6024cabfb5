"""Nothing runs at a hospital that its people did not approve, word for word and byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, RecordDict

from common.contract import Contract, seal_contract
from common.link.envelope import Sealed
from common.link.link_pb2 import FromCoordinator
from common.models import initial_weights
from common.tasks import weights_record
from common.weights import digest
from server.link.speaker import enveloped
from server.proposals import RunOrder
from server.record import read_run
from tests.attacks.federation import ALDER, BIRCH, Federation, Ward, code_of, study_of_records, until
from tests.unit.contract.drafts import task_of

TASKS = ("query", "train", "evaluate")


def asked(
    federation: Federation,
    contract: Contract | str | None = None,
    content: RecordDict | None = None,
    message_type: str = "train",
) -> str:
    """The code with which alder refuses a task."""
    return code_of(federation.ask([ALDER], content, message_type, contract)[ALDER])


@contextmanager
def edited(path: Path, old: bytes, new: bytes) -> Iterator[None]:
    """A file with other bytes during the block."""
    before = path.read_bytes()
    assert old in before and old != new
    path.write_bytes(before.replace(old, new))
    try:
        yield
    finally:
        path.write_bytes(before)


# The contract


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"rounds":2', b'"rounds":9'), (b'"seed":', b'"seed":1'), (b"lesion", b"lesio\x00"), (b"}", b"} ")],
    ids=["rounds", "seed", "a letter", "a blank"],
)
def test_a_contract_changed_on_its_way(old: bytes, new: bytes, federation: Federation) -> None:
    sealed = seal_contract(federation.usual, federation.home.signing_key, federation.clock())
    changed = Sealed(sealed.body.replace(old, new, 1), sealed.signature)
    assert changed.body != sealed.body
    with federation.refusing(ALDER, "study.refused", "contract-invalid"):
        federation.say(ALDER, FromCoordinator(contract=enveloped(changed)))


def test_a_contract_changed_at_the_hospital(alder: Ward, federation: Federation) -> None:
    contract = federation.propose()
    path = alder.home.folder / "studies" / f"{contract.digest}.json"
    with (
        edited(path, b'"seed":1', b'"seed":2'),
        federation.refusing(ALDER, "task.refused", "contract-invalid", contract=contract.digest),
    ):
        assert asked(federation, contract, task_of(contract, "train")) == "contract-invalid"


def test_a_decision_changed_at_the_hospital(alder: Ward, federation: Federation) -> None:
    """Nothing at all runs there until a person has looked."""
    contract = federation.propose(approved=[BIRCH])
    register = alder.home.folder / "studies" / "decisions.jsonl"
    with (
        federation.refusing(ALDER, "task.refused", "audit-broken", contract=contract.digest),
        edited(register, b'"cohort":"chest"', b'"cohort":"knees"'),
    ):
        assert asked(federation, contract, task_of(contract, "train")) == "audit-broken"
        federation.goes_on(BIRCH)


def test_a_contract_that_expired(alder: Ward, federation: Federation) -> None:
    contract = federation.propose(expires=federation.clock() + timedelta(minutes=3))
    assert asked(federation, contract, task_of(contract, "query"), "query") == ""
    alder.clock.ahead = timedelta(minutes=4)
    with federation.refusing(ALDER, "task.refused", "contract-expired", contract=contract.digest):
        assert asked(federation, contract, task_of(contract, "query"), "query") == "contract-expired"


def test_a_contract_that_had_expired_when_it_came(federation: Federation) -> None:
    past = federation.clock() - timedelta(days=1)
    with federation.refusing(ALDER, "study.refused", "contract-expired"):
        terms: dict[str, Any] = {"issued": past - timedelta(days=1), "expires": past}
        contract = federation.drafted(**terms)
        sealed = seal_contract(contract, federation.home.signing_key, past)
        federation.say(ALDER, FromCoordinator(contract=enveloped(sealed)))


@pytest.mark.parametrize("message_type", TASKS)
def test_a_contract_that_nobody_approved(message_type: str, federation: Federation) -> None:
    contract = federation.propose(approved=[BIRCH])
    content = task_of(contract, message_type)
    with federation.refusing(ALDER, "task.refused", "study-unapproved", contract=contract.digest):
        assert asked(federation, contract, content, message_type) == "study-unapproved"
    assert code_of(federation.ask([BIRCH], content, message_type, contract)[BIRCH]) == ""


def test_a_contract_that_was_never_proposed(federation: Federation) -> None:
    with federation.refusing(ALDER, "task.refused", "study-unknown", contract="0" * 64):
        assert asked(federation, "0" * 64) == "study-unknown"


@pytest.mark.parametrize("message_type", TASKS)
def test_a_contract_that_was_withdrawn(message_type: str, alder: Ward, federation: Federation) -> None:
    contract = federation.propose()
    content = task_of(contract, message_type)
    assert asked(federation, contract, content, message_type) == ""
    alder.decide(contract.digest, "withdrawn")
    with federation.refusing(ALDER, "task.refused", "study-withdrawn", contract=contract.digest):
        assert asked(federation, contract, content, message_type) == "study-withdrawn"


def test_a_contract_withdrawn_in_the_middle_of_a_round(alder: Ward, federation: Federation) -> None:
    """What runs ends, nothing leaves; the round goes on with the others, to the study's end."""
    study = study_of_records(
        training={"local_epochs": 300}, federation={"rounds": 1, "min_sites": 1, "deadline_s": 60.0}
    )
    contract, proposals = federation.propose(study), federation.coordinator.proposals
    with federation.refusing(ALDER, "task.refused", "study-withdrawn", contract=contract.digest):
        proposals.order(contract.digest, RunOrder(sites=2, wait_s=10.0))
        until(lambda: alder.status.task.startswith("train"), "training")
        alder.hold()
        alder.decide(contract.digest, "withdrawn")
    folder = proposals.run_folder(contract.digest)
    until(lambda: (read_run(folder) or {}).get("status") == "completed", "the end of the study")
    run = read_run(folder)
    assert run is not None
    [only] = run["rounds"]
    assert only["contributed"] == [BIRCH] and only["missing"][ALDER].startswith("study-withdrawn: ")


def test_other_code_than_was_approved(federation: Federation) -> None:
    contract = federation.propose(code_digest="0" * 64)
    with federation.refusing(ALDER, "task.refused", "code-differs", contract=contract.digest):
        assert asked(federation, contract, task_of(contract, "train")) == "code-differs"


# Its tasks


def other_weights(federation: Federation) -> RecordDict:
    """A task with a larger model, named by its digest."""
    weights = initial_weights(study_of_records(model={"hidden": 3}), 1)
    content = task_of(federation.usual, "train", base_digest=digest(weights))
    content["arrays"] = weights_record(weights)
    return content


def another_record(federation: Federation) -> RecordDict:
    """A task that brings something along that none of its type has."""
    content = task_of(federation.usual, "train")
    content["more"] = ConfigRecord({"path": "/etc/passwd"})
    return content


def no_weights(federation: Federation) -> RecordDict:
    """A task to train nothing."""
    content = task_of(federation.usual, "train")
    del content["arrays"]
    return content


@pytest.mark.parametrize(
    "change",
    [
        {"round": 3},
        {"round": 0},
        {"seed": 1},
        {"proximal_mu": 0.5},
        {"base_loss": True},
        {"class_weights": [1.5, 0.75]},
        {"local_epochs": 100},
        {"base_digest": "none"},
        {"ledger_head": "none"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_task_with_other_arguments(change: dict[str, Any], federation: Federation) -> None:
    content = task_of(federation.usual, "train", **change)
    with federation.refusing(ALDER, "task.refused", "task-outside-contract"):
        assert asked(federation, content=content) == "task-outside-contract"


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"local_epochs": 100}},
        {"study": {"name": "small", "labels": {"0": "normal", "1": "lesion", "2": "tumour"}}},
        {"model": {"hidden": 2, "dropout": 0.5}},
        {"federation": {"rounds": 2, "min_sites": 2}},
    ],
    ids=["epochs", "labels", "model", "federation"],
)
def test_a_task_of_another_study(change: dict[str, Any], federation: Federation) -> None:
    """Also where that was proposed, and waits for approval as an amendment."""
    amended = federation.propose(study_of_records(**change), approved=[], seed=federation.usual.seed)
    with federation.refusing(ALDER, "task.refused", "task-outside-contract"):
        assert asked(federation, content=task_of(amended, "train")) == "task-outside-contract"


@pytest.mark.parametrize("made", [other_weights, another_record, no_weights])
def test_a_task_with_other_records(made: Any, federation: Federation) -> None:
    with federation.refusing(ALDER, "task.refused", "task-outside-contract"):
        assert asked(federation, content=made(federation)) == "task-outside-contract"


@pytest.mark.parametrize("message_type", ["train.more", "query.files", "evaluate"])
def test_a_task_of_another_type(message_type: str, federation: Federation) -> None:
    with federation.refusing(ALDER, "task.refused", "task-outside-contract"):
        assert (
            asked(federation, None, task_of(federation.usual, "train"), message_type)
            == "task-outside-contract"
        )


def test_other_weights_than_the_task_names(federation: Federation) -> None:
    """This the process that trains finds, which has the weights."""
    content = task_of(federation.usual, "train", base_digest="f" * 64)
    with federation.refusing(ALDER, "task.refused", "task-invalid"):
        assert asked(federation, content=content) == "task-invalid"
