"""A site, the coordinator that it is told to expect, and what happens between the two."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.link import (
    Greeting,
    LinkClient,
    LinkState,
    OfferedTask,
    SiteIdentity,
    Timing,
    enrol,
    link_client,
    sealed_reply,
)

# isort: split
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from common.errors import ConsiliumError
from common.link.envelope import Sealed
from common.link.records import described
from tests.integration.site_link.scripted import Coordinator, now, now_ms
from tests.unit.site_link.outboxes import put_out

QUICK = Timing(
    first_s=0.05,
    longest_s=0.2,
    shortest_s=0.01,
    slow_s=0.4,
    answer_s=5.0,
    heartbeat_s=0.2,
    resend_s=0.5,
    renewal_s=0.2,
)


@dataclass
class Recorder:
    """Whoever works behind the link: remembers what it was told."""

    tasks: list[OfferedTask] = field(default_factory=list)
    cancelled: list[tuple[str, str]] = field(default_factory=list)
    contracts: list[Sealed] = field(default_factory=list)
    states: list[tuple[LinkState, ConsiliumError | None]] = field(default_factory=list)
    refusals: list[tuple[str, str]] = field(default_factory=list)
    acknowledgements: list[tuple[str, str]] = field(default_factory=list)
    told: threading.Condition = field(default_factory=threading.Condition)

    def offer(self, task: OfferedTask) -> None:
        self._note(self.tasks, task)

    def cancel(self, task_id: str, reason: str) -> None:
        self._note(self.cancelled, (task_id, reason))

    def contract(self, sealed: Sealed) -> None:
        self._note(self.contracts, sealed)

    def state(self, state: LinkState, error: ConsiliumError | None) -> None:
        self._note(self.states, (state, error))

    def acknowledged(self, task: str, digest: str) -> None:
        self._note(self.acknowledgements, (task, digest))

    def refused(self, error: ConsiliumError, about: str) -> None:
        self._note(self.refusals, (error.code, about))

    def wait(self, happened: Callable[[], Any], timeout_s: float = 10.0) -> None:
        with self.told:
            assert self.told.wait_for(happened, timeout_s), f"{self.states[-3:]}, {self.refusals}"

    def is_in(self) -> bool:
        return bool(self.states) and self.states[-1][0] == "connected"

    def codes(self, state: LinkState) -> list[str]:
        return [error.code for known, error in self.states if known == state and error is not None]

    def _note(self, kept: list[Any], what: Any) -> None:
        with self.told:
            kept.append(what)
            self.told.notify_all()


Run = Callable[..., AbstractContextManager[LinkClient]]


@pytest.fixture
def coordinator() -> Iterator[Coordinator]:
    """A coordinator that listens."""
    with Coordinator().listening() as listening:
        yield listening


@pytest.fixture
def site(coordinator: Coordinator, tmp_path: Path) -> SiteIdentity:
    """Site alder, enrolled."""
    return enrol(tmp_path / "link", coordinator.invitation(), now())


@pytest.fixture
def recorder() -> Recorder:
    """See :class:`Recorder`."""
    return Recorder()


@pytest.fixture
def running(site: SiteIdentity, recorder: Recorder) -> Run:
    """``with running() as client``: the site's link, in a thread, until the block's end."""

    @contextmanager
    def run(handler: Recorder = recorder, wait: bool = True, **how: Any) -> Iterator[LinkClient]:
        stop = threading.Event()
        greeting, timing = Greeting("test", "c0de", {"device": "cpu"}), how.pop("timing", QUICK)
        with link_client(site.folder, handler, greeting=greeting, timing=timing, **how) as client:
            thread = threading.Thread(target=client.run, args=(stop,))
            thread.start()
            try:
                if wait:
                    handler.wait(handler.is_in)
                yield client
            finally:
                stop.set()
                thread.join(10)
                assert not thread.is_alive()

    return run


@pytest.fixture
def content() -> RecordDict:
    """Weights of 400 kB, and a word about them."""
    weights = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    return RecordDict(
        {"arrays": ArrayRecord({"w": Array(weights)}), "about": ConfigRecord({"round": 3, "name": "small"})}
    )


@pytest.fixture
def finish(recorder: Recorder, content: RecordDict) -> Callable[[LinkClient], Sealed]:
    """Answers the newest task, with the weights that it brought."""

    def put(client: LinkClient) -> Sealed:
        task = recorder.tasks[-1]
        records, parts = described(content)
        sealed = sealed_reply(client.identity, task, records, now_ms(), "7:abc")
        put_out(client.outbox, task.id, sealed, parts)
        return sealed

    return put
