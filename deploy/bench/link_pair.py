"""A coordinator in a process of its own, as it serves a federation, and a site here that enrolled with it."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from client.link import SiteIdentity, enrol  # before flwr, which loads gRPC: see common/link/tls13.py

# isort: split
import numpy as np
from flwr.app import ArrayRecord, Message, RecordDict

from client.link.dialling import dial, link_over
from client.link.identity import AUTHORITY, CERTIFICATE, KEY
from common.chain import utc_now
from common.identity import Invitation, coordinator_name
from common.link.blobs import BlobStore
from common.link.link_pb2_grpc import LinkStub
from common.link.records import blob_of
from deploy.bench.plain_tls import PlainTls, TlsFiles, connected
from deploy.bench.plain_tls import serve as serve_plain_tls
from server.link.grid import LinkGrid
from server.link.home import CERTIFICATE_FILE, TLS_KEY, CoordinatorHome
from server.link.server import LinkServer
from server.link.transfers import Transfers

SITE, CONTRACT = "bench", "0" * 64
TASK_S = 3600.0
_AUTHORITY = Path("authority") / "certificate.pem"
_STORE_BYTES = 2**34
_END_S = 20.0


@dataclass(frozen=True, slots=True)
class Pair:
    """A site that can call its coordinator, and the rival between the same two parties.

    Attributes:
        link: The site's calls, over the one connection that it keeps.
        blobs: The site's store.
        plain: The rival's connection.
        give: Has the coordinator give the site a task with so many bytes, never the same, in the place of the
            blob of that digest; their own, and their length as a blob.
        forget: Has the coordinator remove the blob of that digest, if there is one, which the site stored.
    """

    link: LinkStub
    blobs: BlobStore
    plain: PlainTls
    give: Callable[[int, str], tuple[str, int]]
    forget: Callable[[str], None]


@contextmanager
def paired(folder: Path, most_bytes: int) -> Iterator[Pair]:
    """A pair that lives during the block.

    Args:
        folder: Where both keep what they keep; empty.
        most_bytes: The most that the rival will be asked to move.
    """
    with ExitStack() as stack:
        home, site = folder / "coordinator", folder / "site"
        ask = stack.enter_context(_process(_serve, home))
        identity = enrol(site, ask.recv(), utc_now())
        files = TlsFiles(home / CERTIFICATE_FILE, home / TLS_KEY, home / _AUTHORITY)
        rival = stack.enter_context(_process(serve_plain_tls, files, most_bytes))
        plain = stack.enter_context(connected(rival.recv(), *_site_files(site, identity), most_bytes))
        link = link_over(stack.enter_context(dial(identity)))

        def give(size: int, instead: str) -> tuple[str, int]:
            ask.send((size, instead))
            blob: tuple[str, int] = ask.recv()
            return blob

        def forget(digest: str) -> None:
            give(0, digest)

        yield Pair(link, BlobStore(site / "blobs", _STORE_BYTES), plain, give, forget)


def _site_files(site: Path, identity: SiteIdentity) -> tuple[TlsFiles, str]:
    files = TlsFiles(site / CERTIFICATE, site / KEY, site / AUTHORITY)
    return files, coordinator_name(identity.federation)


@contextmanager
def _process(target: Callable[..., None], *given: object) -> Iterator[Connection]:
    """The other end of a pipe to a fresh process, which ends when the pipe is closed."""
    context = multiprocessing.get_context("spawn")  # a fork would take gRPC's threads for running
    ours, theirs = context.Pipe()
    process = context.Process(target=_quietly, args=(target, theirs, *given), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(_END_S)
        process.kill()
        process.join()


def _quietly(target: Callable[..., None], connection: Connection, *given: object) -> None:
    """Run in the child: Ctrl-C reaches the whole process group, and the parent decides when this ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    target(connection, *given)


def _serve(connection: Connection, folder: Path) -> None:
    """Be the coordinator; its first word is the site's invitation."""
    with CoordinatorHome.create(folder, "127.0.0.1:443", "127.0.0.1:0") as home:
        server = LinkServer(home)
        try:
            connection.send(_invitation(home, server.start()))
            _obey(connection, home, server)
        finally:
            server.stop()


def _invitation(home: CoordinatorHome, port: int) -> Invitation:
    return home.enrolment.invite(SITE, address=f"127.0.0.1:{port}")


def _obey(connection: Connection, home: CoordinatorHome, server: LinkServer) -> None:
    """Do what the bench asks for, until it closes its end."""
    grid = server.grid(CONTRACT)
    stores = Transfers(home.blobs, home.store.tasks, lambda: 0)
    while True:
        try:
            size, instead = connection.recv()
        except EOFError:
            return
        [site] = home.store.members.sites()
        if instead:
            for store in (stores.given, stores.sent_by(site.node_id)):
                store.remove(instead)
        connection.send(_given(grid, site.node_id, size) if size else ("", 0))


def _given(grid: LinkGrid, node_id: int, size: int) -> tuple[str, int]:
    """Digest and length of the blob of a new task, the only one that the site has now."""
    weights = ArrayRecord([np.random.default_rng().integers(0, 256, size, dtype=np.uint8)])
    grid.cancel("measured")
    grid.push_messages([Message(RecordDict({"weights": weights}), node_id, "train", ttl=TASK_S)])
    blob = blob_of(weights)
    return blob.digest, blob.size
