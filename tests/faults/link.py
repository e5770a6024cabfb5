"""A coordinator and hospitals as they run, a network between them that can be broken, and small studies."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from client.link import Timing as SiteTiming
from client.link import link_client
from common.link import transport
from common.link.pieces import PIECE_S
from common.link.transport import KEEPALIVE_TIME_MS, KEEPALIVE_TIMEOUT_MS, Option, channel
from common.weights import digest, load_weights
from server.link import server as link_server
from server.proposals import RunOrder
from server.record import read_run
from tests.attacks.conftest import free_port
from tests.attacks.federation import Federation, Ward, running, study_of_records, until
from tests.faults.injector import SCALE
from tests.faults.injector.network import FaultyWire

# CPython's wrap_socket leaves its socket to the collector where the connection was reset just before.
RESET_SOCKETS = [
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"),
]
ROUNDS = 2
LARGE = {"hidden": 512}
"""A model of 3.2 MB, which travels in four pieces."""


_OPTIONS = link_server._OPTIONS


@contextmanager
def in_real_time() -> Iterator[None]:
    """What is made during the block waits as long as in life, also while another federation is scaled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("server.link.server._OPTIONS", _OPTIONS)
        patch.setattr("client.link.dialling.channel", channel)
        patch.setattr("client.daemon.daemon.link_client", link_client)
        patch.setattr("common.link.pieces.PIECE_S", PIECE_S)
        yield


@contextmanager
def scaled() -> Iterator[None]:
    """What is made during the block gives connections up ``SCALE`` times sooner, and comes back as soon."""
    alive = transport.keepalive(KEEPALIVE_TIME_MS // SCALE, KEEPALIVE_TIMEOUT_MS // SCALE)
    usual = SiteTiming()
    timing = replace(
        usual,
        first_s=usual.first_s / SCALE,
        longest_s=usual.longest_s / SCALE,
        shortest_s=usual.shortest_s / SCALE,
        slow_s=usual.slow_s / SCALE,
        heartbeat_s=usual.heartbeat_s / SCALE,
        resend_s=usual.resend_s / SCALE,
        answer_s=5.0,  # a busy machine takes as long as it takes
    )
    options = _with(transport.CHANNEL_OPTIONS, alive)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("server.link.server._OPTIONS", _with(link_server._OPTIONS, alive))
        patch.setattr("client.link.dialling.channel", partial(channel, options=options))
        patch.setattr("client.daemon.daemon.link_client", partial(link_client, timing=timing))
        patch.setattr("common.link.pieces.PIECE_S", PIECE_S / SCALE)
        yield


def _with(options: Sequence[Option], others: Sequence[Option]) -> tuple[Option, ...]:
    return tuple({**dict(options), **dict(others)}.items())


@dataclass
class Studies:
    """A federation, and studies that are run in it: all the same, but for their names and what goes wrong.

    Attributes:
        federation: It.
        sites: The names of its hospitals.
    """

    federation: Federation
    sites: tuple[str, ...]

    def ward(self, name: str) -> Ward:
        """A hospital."""
        return self.federation.wards[name]

    def wire(self, name: str) -> FaultyWire:
        """What lies between a hospital and the coordinator."""
        wire = self.ward(name).wire
        assert isinstance(wire, FaultyWire)
        return wire

    def begin(self, name: str, **sections: Any) -> str:
        """Digest of the contract of a study that begins now; keyword arguments are laid over its sections."""
        usual: dict[str, dict[str, Any]] = {
            "study": {"name": name},
            "model": {"hidden": 8},
            "training": {"local_epochs": 2, "batch_size": 4},
            "federation": {"rounds": ROUNDS, "min_sites": len(self.sites), "deadline_s": 120.0},
        }
        study = study_of_records(**{**usual, **{n: {**usual.get(n, {}), **s} for n, s in sections.items()}})
        contract = self.federation.propose(study, self.sites, seed=1)
        self.federation.coordinator.proposals.order(contract.digest, RunOrder(sites=len(self.sites)))
        return contract.digest

    def outcome(self, contract: str) -> dict[str, Any]:
        """What a study came to, once it has ended."""
        folder = self.federation.coordinator.proposals.run_folder(contract)
        until(lambda: "report" in (read_run(folder) or {"files": {}})["files"], "the end of a study")
        run = read_run(folder)
        assert run is not None
        return run

    def model(self, contract: str, trained_once: bool = True) -> str:
        """Digest of the model that came out of a study in which every hospital had a part in each round."""
        run = self.outcome(contract)
        assert run["status"] == "completed", run["error"]
        assert [entry["contributed"] for entry in run["rounds"]] == [list(self.sites)] * ROUNDS
        self.heard_once(contract)
        for site in self.sites if trained_once else ():
            assert self.released(site, contract) == ROUNDS, f"{site} has trained a round twice"
        folder = self.federation.coordinator.proposals.run_folder(contract)
        return digest(load_weights(folder / "model.safetensors"))

    def heard_once(self, contract: str) -> None:
        """No answer of a hospital was taken twice."""
        received = [e.facts for e in self.federation.entries("coordinator") if e.event == "reply.received"]
        heard = Counter(facts["task"] for facts in received if facts["contract"] == contract)
        assert set(heard.values()) == {1}

    def released(self, site: str, contract: str) -> int:
        """How many updates have left a hospital for a study."""
        sent = [e.facts for e in self.federation.entries(site) if e.event == "release.sent"]
        return sum(facts["contract"] == contract and facts["message_type"] == "train" for facts in sent)

    def trains(self, site: str) -> None:
        """Wait until a hospital is at work."""
        until(lambda: self.ward(site).status.task.startswith("train"), f"training at {site}")

    @contextmanager
    def training(self, site: str) -> Iterator[None]:
        """A hospital is at work during the block, and not done before its end."""
        self.trains(site)
        daemon = self.ward(site)._daemon
        assert daemon is not None and daemon._desk is not None
        child = daemon._desk._executor.process_id
        assert child is not None
        os.kill(child, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(child, signal.SIGCONT)


@contextmanager
def studies(folder: Path, *sites: str) -> Iterator[Studies]:
    """A federation of these hospitals."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.attacks.federation.Wire", FaultyWire)
        patch.setattr("tests.attacks.federation.SITES", sites)
        patch.setattr("server.collecting.PAUSE_S", 0.2)
        with running(folder, free_port()) as federation:
            yield Studies(federation, sites)
