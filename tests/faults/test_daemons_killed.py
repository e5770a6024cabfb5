"""Any daemon is killed in the middle of a study and started again: the model is that of a quiet run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.audit import AuditLog
from common.evidence.verification import verify
from common.weights import digest, load_weights
from server.proposals import Proposals
from tests.faults.machines import COORDINATOR, ROUNDS, SITES, Machines, machines


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with machines(tmp_path_factory.mktemp("machines")) as made:
        yield made


@pytest.fixture(scope="module")
def undisturbed(running: Machines) -> str:
    """Digest of the model that comes out where nothing happens."""
    contract = running.begin("undisturbed")
    assert running.outcome(contract)["status"] == "completed"
    return model(running, contract)


def model(running: Machines, contract: str) -> str:
    folder = Proposals(running.folder / COORDINATOR / "studies").run_folder(contract)
    return digest(load_weights(folder / "model.safetensors"))


def released(running: Machines, contract: str) -> Counter[tuple[str, str]]:
    """How many replies of each kind left each hospital for a study."""
    return Counter(
        (name, str(entry.facts["message_type"]))
        for name, home in running.homes.items()
        for entry in AuditLog(home.folder / "audit.jsonl").entries()
        if entry.event == "release.sent" and entry.facts["contract"] == contract
    )


@pytest.mark.fault(
    "the coordinator's daemon is ended (`kill -9`) in two rounds of a study with two hospitals",
    "started again, it goes on in the same round; no hospital trains a round twice, the model is bit-equal",
)
def test_the_coordinator(running: Machines, undisturbed: str) -> None:
    contract = running.begin("coordinator-killed")
    for number in (2, 4):
        running.in_round(contract, number)
        running.kill(COORDINATOR)
        running.start(COORDINATOR)
    run = running.outcome(contract)
    assert run["status"] == "completed" and len(run["rounds"]) == ROUNDS
    assert all(entry["contributed"] == list(SITES) for entry in run["rounds"])
    assert model(running, contract) == undisturbed
    assert {released(running, contract)[name, "train"] for name in SITES} == {ROUNDS}, (
        "nothing is trained twice"
    )


@pytest.mark.fault(
    "a hospital's daemon and the process that trains are ended (`kill -9`)",
    "the task is offered again and goes on from its last checkpoint; the model is bit-equal",
)
def test_a_hospital(running: Machines, undisturbed: str) -> None:
    contract = running.begin("hospital-killed")
    running.in_round(contract, 2)
    running.kill("alder")
    running.start("alder")
    run = running.outcome(contract)
    assert run["status"] == "completed"
    assert all(entry["contributed"] == list(SITES) for entry in run["rounds"])
    assert model(running, contract) == undisturbed


@pytest.mark.fault(
    "the coordinator's daemon is stopped (`systemctl stop`) during a study",
    "the study stands at `interrupted` and goes on at the next start; the model is bit-equal",
)
@pytest.mark.slow
def test_the_coordinator_that_is_stopped_goes_on_later(running: Machines, undisturbed: str) -> None:
    contract = running.begin("coordinator-stopped")
    running.in_round(contract, 2)
    running.stop(COORDINATOR)
    assert not Proposals(running.folder / COORDINATOR / "studies").has_run(contract)
    running.start(COORDINATOR)
    assert running.outcome(contract)["status"] == "completed"
    assert model(running, contract) == undisturbed


@pytest.mark.fault(
    "the daemons of a federation are killed and stopped, all of the above",
    "the audit logs of all three are whole",
)
def test_all_logs_are_whole_after_that(running: Machines) -> None:
    places: dict[str, Path] = {name: home.folder for name, home in running.homes.items()}
    report = verify({**places, COORDINATOR: running.folder / COORDINATOR})
    assert report.is_whole, list(report.faults)
