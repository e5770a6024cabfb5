"""A coordinator on a port of this machine, and sites that reach it by whatever lies in between."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from client.link import Greeting, LinkClient, SiteIdentity, Timing, link_client, sealed_reply

# isort: split
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from common.identity import Invitation
from common.link.records import described
from server.link.home import CoordinatorHome
from server.link.server import LinkServer
from tests.integration.site_link.conftest import QUICK, Recorder
from tests.integration.site_link.scripted import now_ms, until
from tests.unit.site_link.outboxes import put_out

CONTRACT = "c" * 64
HEAD = f"1:{'a' * 64}"
WEIGHTS = 2_000_000
"""Numbers in the model that is sent to and fro: 8 MB."""

PROXY_VARIABLES = ("http_proxy", "https_proxy", "grpc_proxy", "no_proxy", "no_grpc_proxy", "NO_PROXY")

Connected = Callable[..., AbstractContextManager[LinkClient]]


@dataclass
class Federation:
    """A coordinator that listens.

    Attributes:
        home: Its home.
        server: What serves its sites.
        port: Where it listens on 127.0.0.1.
        peers: Where those called from who tried to enrol, as gRPC says.
    """

    home: CoordinatorHome
    server: LinkServer
    port: int
    peers: list[str] = field(default_factory=list)

    def invitation(self, port: int, site: str = "alder") -> Invitation:
        """An invitation to a site that reaches the coordinator by another port."""
        return self.home.enrolment.invite(site, address=f"127.0.0.1:{port}")

    def events(self, event: str) -> list[str]:
        """Sites in the entries of the audit log about one kind of event."""
        return [str(entry.facts.get("site")) for entry in self.home.audit.entries() if entry.event == event]

    def asked(self, client: LinkClient, recorder: Recorder) -> tuple[RecordDict, RecordDict]:
        """What a site is sent in one task, and what the coordinator has of its reply."""
        grid, sent = self.server.grid(CONTRACT), weights(0)
        (node,) = grid.get_node_ids()
        ids = list(grid.push_messages([Message(sent, node, "train", ttl=60.0, group_id="1")]))
        recorder.wait(lambda: recorder.tasks)
        task = recorder.tasks[-1]
        assert task.content == sent
        records, parts = described(weights(1))
        sealed = sealed_reply(client.identity, task, records, now_ms(), HEAD)
        put_out(client.outbox, task.id, sealed, parts)
        replies: list[Message] = []
        until(lambda: replies.extend(grid.pull_messages(ids)) or replies)
        return sent, replies[0].content


def weights(seed: int) -> RecordDict:
    """Records with a model of 8 MB."""
    array = np.random.default_rng(seed).standard_normal(WEIGHTS, dtype=np.float32)
    return RecordDict({"arrays": ArrayRecord({"w": Array(array)}), "about": ConfigRecord({"round": seed})})


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def federation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Federation]:
    """See :class:`Federation`."""
    with CoordinatorHome.create(tmp_path / "coordinator", "127.0.0.1:443", "127.0.0.1:0") as home:
        server = LinkServer(home)
        made = Federation(home, server, server.start())
        enrol = home.enrolment.enrol

        def enrolled(*given: object) -> bytes:
            made.peers.append(str(given[-1]))
            return enrol(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(home.enrolment, "enrol", enrolled)
        try:
            yield made
        finally:
            server.stop(0.2)


@pytest.fixture
def recorder() -> Recorder:
    """Whoever works behind the site's link."""
    return Recorder()


@pytest.fixture
def connected(recorder: Recorder) -> Connected:
    """``with connected(site) as client``: the site's link, in a thread, until the block's end."""

    @contextmanager
    def run(site: SiteIdentity, timing: Timing = QUICK, wait: bool = True) -> Iterator[LinkClient]:
        stop = threading.Event()
        with link_client(site.folder, recorder, greeting=Greeting("test"), timing=timing) as client:
            thread = threading.Thread(target=client.run, args=(stop,))
            thread.start()
            try:
                if wait:
                    recorder.wait(recorder.is_in)
                yield client
            finally:
                stop.set()
                thread.join(10)
                assert not thread.is_alive()

    return run
