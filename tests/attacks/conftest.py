"""One federation for all attacks of a test process: it must outlive every one of them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

from client.link import Timing as SiteTiming
from client.link import link_client
from server.link import server as link_server
from server.link.server import LinkServer, Timing
from tests.attacks.federation import SITES, Federation, Ward, running

HANDSHAKE_S = 1.0
TIMING = Timing(hello_s=1.0, silence_s=1.5, grace_s=0.5)
QUICK = SiteTiming(first_s=0.05, longest_s=0.2, shortest_s=0.01, slow_s=0.4, answer_s=5.0, heartbeat_s=0.5)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def made_quick() -> Iterator[None]:
    """What is made during the block has waiting times of a test, and no limits that many refusals reach."""
    options = {**dict(link_server._OPTIONS), "grpc.server_handshake_timeout_ms": int(1000 * HANDSHAKE_S)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("server.link.server._OPTIONS", tuple(options.items()))
        patch.setattr("server.coordinator.LinkServer", partial(LinkServer, timing=TIMING))
        patch.setattr("server.link.enrolment.TRIES_EACH", 10_000)
        for limit in ("NOTED_EACH", "NOTED_TOGETHER"):
            patch.setattr(f"server.link.log.{limit}", 10_000)
        patch.setattr("client.daemon.daemon.link_client", partial(link_client, timing=QUICK))
        yield


@pytest.fixture(scope="package")
def whole_federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """The federation, for fixtures that outlive a test; tests ask for ``federation``."""
    with ExitStack() as stack:
        with made_quick():
            folder = tmp_path_factory.mktemp("federation")
            made = stack.enter_context(running(folder, free_port()))
            assert made.usual  # while all are there to hear of it
        yield made


@pytest.fixture
def federation(whole_federation: Federation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Federation]:
    """The federation, which is as it was once the test is over."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # no power is cut here
    monkeypatch.setattr("server.link.listener.NOTED_S", 0.0)
    monkeypatch.setattr("client.daemon.daemon.LOOK_S", 0.05)
    yield whole_federation
    whole_federation.clock.ahead *= 0
    for ward in whole_federation.wards.values():
        ward.clock.ahead *= 0
        ward.wire.target = whole_federation.port
    whole_federation.wait_for(*SITES)


@pytest.fixture
def alder(federation: Federation) -> Ward:
    return federation.alder
