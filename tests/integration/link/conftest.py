"""A coordinator that listens on this machine, and sites that connect to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from common.evidence.events import objection
from server.link.grid import LinkGrid
from server.link.home import CoordinatorHome
from server.link.server import LinkServer, Timing
from tests.integration.link.hospital import CONTRACT, WAIT_S, Clock, Hospital

TIMING = Timing(hello_s=0.3, silence_s=0.3, grace_s=0.3)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def home(tmp_path: Path, clock: Clock) -> Iterator[CoordinatorHome]:
    """A coordinator's home; what its audit log says at the end is all in the table of events."""
    with CoordinatorHome.create(tmp_path / "coordinator", "127.0.0.1:443", "127.0.0.1:0", now=clock) as made:
        yield made
        wrong = [objection(entry.event, entry.facts) for entry in made.audit.entries()]
        assert not [each for each in wrong if each is not None]


@pytest.fixture
def serve(home: CoordinatorHome, clock: Clock) -> Iterator[Callable[..., tuple[LinkServer, int]]]:
    """``serve(timing=...)``: a server and its port; all are stopped at the end."""
    servers: list[LinkServer] = []

    def start(**options: Any) -> tuple[LinkServer, int]:
        servers.append(LinkServer(home, now=clock, **{"timing": TIMING, **options}))
        return servers[-1], servers[-1].start()

    yield start
    for server in servers:
        server.stop(0.2)


@pytest.fixture
def running(serve: Callable[..., tuple[LinkServer, int]]) -> tuple[LinkServer, int]:
    return serve()


@pytest.fixture
def server(running: tuple[LinkServer, int]) -> LinkServer:
    return running[0]


@pytest.fixture
def grid(server: LinkServer) -> LinkGrid:
    return server.grid(CONTRACT)


@pytest.fixture
def hospital(
    home: CoordinatorHome, running: tuple[LinkServer, int], clock: Clock
) -> Callable[[str], Hospital]:
    """``hospital("alder")``: a site that has enrolled."""
    return lambda name: Hospital.enrolled(home, running[1], name, clock())


@pytest.fixture
def alder(hospital: Callable[[str], Hospital]) -> Hospital:
    return hospital("alder")


@pytest.fixture
def birch(hospital: Callable[[str], Hospital]) -> Hospital:
    return hospital("birch")


@pytest.fixture
def told(home: CoordinatorHome) -> Callable[..., list[dict[str, Any]]]:
    """``told("link.refused", code="x")``: facts of such entries of the audit log, once there is one."""

    def look(event: str, wait_s: float = WAIT_S, **facts: Any) -> list[dict[str, Any]]:
        until = time.monotonic() + wait_s
        while True:
            entries = [dict(entry.facts) for entry in home.audit.entries() if entry.event == event]
            found = [each for each in entries if facts.items() <= each.items()]
            if found or time.monotonic() > until:
                return found
            time.sleep(0.02)

    return look


@pytest.fixture
def within() -> Callable[[Callable[[], bool]], bool]:
    """``within(done)``: whether it becomes true in the time that tests wait."""

    def wait(done: Callable[[], bool]) -> bool:
        until = time.monotonic() + WAIT_S
        while not (met := done()) and time.monotonic() < until:
            time.sleep(0.01)
        return met

    return wait


@pytest.fixture
def weights() -> Callable[..., RecordDict]:
    """``weights(seed, number, site="alder")``: records with so many float32 numbers."""

    def make(seed: int, number: int = 1000, **about: Any) -> RecordDict:
        array = np.random.default_rng(seed).standard_normal(number, dtype=np.float32)
        return RecordDict({"about": ConfigRecord({"round": seed, **about}), "arrays": ArrayRecord([array])})

    return make


@pytest.fixture
def push(grid: LinkGrid) -> Callable[..., str]:
    """``push(site, content)``: the id of a task that was given to a site."""

    def send(site: Hospital, content: RecordDict, ttl: float = 60.0, message_type: str = "train") -> str:
        message = Message(content, site.node_id, message_type, ttl=ttl, group_id="g")
        [task] = grid.push_messages([message])
        return task

    return send


@pytest.fixture
def pulled(grid: LinkGrid) -> Callable[..., list[Message]]:
    """``pulled(task)``: what the Grid has of it, once there is something."""

    def pull(task: str, wait_s: float = WAIT_S) -> list[Message]:
        until = time.monotonic() + wait_s
        while not (found := list(grid.pull_messages([task]))) and time.monotonic() < until:
            pass  # each pull waits a moment by itself
        return found

    return pull
