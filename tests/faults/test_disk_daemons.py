"""Daemons whose disk is full for a while or holds something else, and a trainer that is killed for memory."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client.checkpoints.checkpoint import INTERVAL_VARIABLE
from common.evidence.verification import verify
from common.link.blobs import BlobStore
from common.weights import digest, load_weights
from server.proposals import RunOrder
from server.record import read_run
from tests.attacks.conftest import free_port, made_quick
from tests.attacks.federation import ALDER, COORDINATOR, SITES, Federation, running, study_of_records, until
from tests.faults.disk import Disk, disk, flipped, spoil

__all__ = ["disk"]


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A coordinator and two hospitals, as daemons in threads of this process; training is in others."""
    with pytest.MonkeyPatch.context() as patch, made_quick():
        patch.setenv(INTERVAL_VARIABLE, "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setattr("server.coordinator.PAUSE_S", 0.05)
        patch.setattr("server.collecting.PAUSE_S", 0.05)
        patch.setattr("client.daemon.daemon.LOOK_S", 0.05)
        with running(tmp_path_factory.mktemp("federation"), free_port()) as made:
            for ward in made.wards.values():
                ward._daemon._desk._pause_s = 0.05  # type: ignore[union-attr]
            yield made


class Study:
    """A study of both hospitals; all of them are the same but for their names."""

    def __init__(self, federation: Federation, name: str) -> None:
        self.federation = federation
        self.releases = dict.fromkeys(SITES, 2)  # tasks of training that each site has answered
        sections: dict[str, Any] = {
            "study": {"name": name},
            "training": {"local_epochs": 8, "batch_size": 2},
            "federation": {"rounds": 2, "min_sites": 2, "deadline_s": 60.0},
        }
        study = study_of_records(**sections)
        self.digest = federation.propose(study, seed=1).digest

    def begin(self) -> None:
        """Have it run."""
        self.federation.coordinator.proposals.order(self.digest, RunOrder(sites=2))

    def outcome(self) -> tuple[str, list[list[str]]]:
        """Digest of the model that it came to, and who contributed to each round."""
        proposals = self.federation.coordinator.proposals
        folder = proposals.run_folder(self.digest)
        until(lambda: proposals.has_run(self.digest), "the end")
        run = read_run(folder)
        assert run is not None and run["status"] == "completed", run and run["error"]
        return digest(load_weights(folder / "model.safetensors")), [e["contributed"] for e in run["rounds"]]

    def released(self, site: str) -> set[Any]:
        """The tasks of training whose updates have left a site."""
        about = {"contract": self.digest, "message_type": "train"}.items()
        entries = (each for each in self.federation.entries(site) if each.event == "release.sent")
        return {each.facts["task"] for each in entries if about <= each.facts.items()}


@pytest.fixture(scope="module")
def undisturbed(federation: Federation) -> tuple[str, list[list[str]]]:
    """What comes out where nothing happens."""
    study = Study(federation, "undisturbed")
    study.begin()
    return study.outcome()


@pytest.fixture
def study(federation: Federation, undisturbed: Any, request: pytest.FixtureRequest) -> Iterator[Study]:
    """A study of this test; when it is over all logs are whole, and nothing was trained or counted twice."""
    made = Study(federation, str(abs(hash(request.node.nodeid))))
    yield made
    places = {name: ward.home.folder for name, ward in federation.wards.items()}
    report = verify({**places, COORDINATOR: federation.home.folder})
    assert report.is_whole, list(report.faults)
    assert {site: len(made.released(site)) for site in SITES} == made.releases


FULL = {
    "a site has no room for its audit log": "alder/audit.jsonl",
    "the coordinator has no room for its audit log": "coordinator/audit.jsonl",
    "a site has no room for the model that it is sent": "alder/link/blobs/*",
    "a site has no room for an update that waits to be sent": "alder/link/outbox/blobs/*",
    "a site has no room for an answer that waits to be sent": "alder/link/outbox/replies/*",
    "the coordinator has no room for an update that arrives": "coordinator/*/replies/*",
    "the coordinator has no room for the model that it sends": "coordinator/*/tasks/*",
}

QUICK = list(FULL)[:2]
"""Those that are tried each time; the others take some seconds each."""


def full(what: str) -> Any:
    becomes = "waits (`disk-full` in the log), and goes on by itself once there is room, to the same model"
    marks = [pytest.mark.fault(what, becomes), *([] if what in QUICK else [pytest.mark.slow])]
    return pytest.param(FULL[what], marks=marks, id=what)


@pytest.mark.parametrize("pattern", [full(what) for what in FULL])
def test_there_is_no_room_for_a_while(
    study: Study, federation: Federation, disk: Disk, undisturbed: Any, pattern: str
) -> None:
    federation.server._transfers.given.keep(())  # of earlier studies with the same models
    disk.fills_up(pattern, times=2)
    study.begin()
    assert study.outcome() == undisturbed
    assert len(disk.refused) == 2


@pytest.mark.fault(
    "the process that trains is killed for memory",
    "it is started anew and goes on from its last checkpoint; the model is the same",
)
def test_the_trainer_is_killed(study: Study, federation: Federation, undisturbed: Any) -> None:
    state = federation.alder.home.folder / "link/state/training"
    study.begin()
    until(lambda: list(state.rglob("*.checkpoint")), "a checkpoint")
    child = federation.alder._daemon._desk._executor.process_id  # type: ignore[union-attr]
    assert child is not None
    os.kill(child, signal.SIGKILL)
    assert study.outcome() == undisturbed
    died = [e for e in federation.entries(ALDER) if e.event == "executor.died"]
    assert [e.facts["code"] for e in died] == ["executor-died"]


@pytest.mark.slow
@pytest.mark.fault(
    "an update that waits to be sent is damaged on a site's disk",
    "it is not taken: the site is asked again, and the model is the same",
)
def test_an_update_is_damaged_while_it_waits(
    study: Study, federation: Federation, undisturbed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = federation.alder._daemon._link.outbox  # type: ignore[union-attr]
    real, spoilt = outbox.blobs.adopt, list[Path]()

    def adopt(made: BlobStore, digest: str) -> None:
        real(made, digest)
        if not spoilt:
            spoilt.append(outbox.blobs.folder / digest)
            spoil(spoilt[0], lambda data: flipped(data, 0.5))

    monkeypatch.setattr(outbox.blobs, "adopt", adopt)
    study.begin()
    assert study.outcome() == undisturbed
    assert spoilt
    study.releases[ALDER] += 1
