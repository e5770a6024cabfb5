"""The site's end of the link, for ever: connect, work, lose it, stay away a while, connect again."""

from __future__ import annotations

import fcntl
import os
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import grpc

from client.link.connection import Connection
from client.link.dialling import Dial, dial
from client.link.failures import coded
from client.link.handler import Handler
from client.link.hello import Greeting
from client.link.identity import SiteIdentity
from client.link.incoming import Incoming
from client.link.outbox import Outbox
from client.link.probe import Target, error_of, probe
from client.link.timing import Backoff, Timing
from common.chain import Clock, utc_now
from common.errors import (
    CertificateExpired,
    ConsiliumError,
    CoordinatorUnreachable,
    HomeBusy,
    SiteRevoked,
    TrustError,
)
from common.files import unwritable
from common.link.blobs import BlobStore
from common.link.envelope import Sealed, Seen
from common.link.link_pb2 import Envelope, Progress, RenewReply, RenewRequest, Status
from common.link.link_pb2_grpc import LinkStub
from common.link.seen import WINDOW_MS

LIMIT_BYTES = 8 * 2**30
"""How much room the weights of tasks may take on the disk; those of replies have as much again."""

_GIVEN_UP = "its reply was never acknowledged, and is too old for any coordinator to want it"


class LinkClient:
    """Keeps one session with the coordinator, whatever happens in between.

    Args:
        identity: Who the site is.
        handler: Whoever works behind the link.
        outbox: What is owed.
        blobs: Where weights of tasks are put.
        seen: What counted before.
        greeting: What the site says of itself.
        timing: How long things may take.
        dice: Where the chance in waiting times comes from.
        now: The clock.
        dialled: Opens a channel.
    """

    def __init__(
        self,
        identity: SiteIdentity,
        handler: Handler,
        outbox: Outbox,
        blobs: BlobStore,
        seen: Seen,
        *,
        greeting: Greeting,
        timing: Timing | None = None,
        dice: random.Random | None = None,
        now: Clock = utc_now,
        dialled: Dial = dial,
    ) -> None:
        self.identity = identity
        self.outbox = outbox
        self.seen = seen
        self.skew_ms: int | None = None  # how far the coordinator's clock is ahead of ours
        self._handler, self._blobs = handler, blobs
        self._greeting, self._timing = greeting, timing or Timing()
        self._dice, self._now, self._dial = dice or random.SystemRandom(), now, dialled
        self._incoming = Incoming(identity, handler, outbox, blobs, seen, self._now_ms)
        self._session_id = uuid4().hex  # the same for each connection: who holds it is the same process
        self._connection: Connection | None = None
        self._welcomed: float | None = None

    def run(self, stop: threading.Event) -> None:
        """Stay connected until ``stop`` is set.

        Raises:
            SiteRevoked: The coordinator says so; nothing but a new invitation helps.
        """
        backoff = Backoff(self._timing, self._dice)
        while not stop.is_set():
            stop.wait(self._lived(stop, backoff))
        self._handler.state("disconnected", None)

    def progress(self, task: str, done: float, what: str) -> None:
        """Say how far a task is, if anybody listens."""
        self._say(progress=Progress(task=task, done=done, what=what))

    def status(self, state: str, facts: Mapping[str, str]) -> None:
        """Say how the site is, if anybody listens."""
        self._say(status=Status(state=state, facts=dict(facts)))

    def consent(self, sealed: Sealed) -> None:
        """Send a signed decision on a study, if anybody listens."""
        self._say(consent=Envelope(body=sealed.body, signature=sealed.signature))

    def _lived(self, stop: threading.Event, backoff: Backoff) -> float:
        """How long to stay away after a session."""
        self._welcomed = None
        self._handler.state("connecting", None)
        try:
            self._session(stop)
        except SiteRevoked as error:
            self._handler.state("refused", error)
            raise
        except ConsiliumError as raised:
            found = raised if stop.is_set() else self._explained(raised)
            if isinstance(found, TrustError) and not isinstance(found, CoordinatorUnreachable):
                self._handler.state("refused", found)
                return backoff.slow()
            self._handler.state("disconnected", found)
            lived_s = time.monotonic() - self._welcomed if self._welcomed is not None else 0.0
            return backoff.after(lived_s)
        return 0.0  # stopped, or on with a new certificate

    def _session(self, stop: threading.Event) -> None:
        if self._now() > self.identity.identity.not_after:
            raise CertificateExpired(f"this site's certificate ended at {self.identity.identity.not_after}")
        self._give_up()
        holding = tuple(reply.task for reply in self.outbox.held())
        hello = self._greeting.hello(self._session_id, self._now_ms(), holding)
        connection = Connection(
            self._dial(self.identity),
            self._incoming,
            self._handler,
            self.outbox,
            self._blobs,
            self._timing,
            self._now_ms,
        )
        try:
            connection.run(hello, stop, lambda skew_ms: self._in(connection, skew_ms), self._renew)
        finally:
            self._connection = None

    def _in(self, connection: Connection, skew_ms: int) -> None:
        self.skew_ms, self._connection, self._welcomed = skew_ms, connection, time.monotonic()
        self._handler.state("connected", None)

    def _renew(self, link: LinkStub) -> bool:
        """Whether the certificate was due and is now a newer one."""
        if not self.identity.is_due(self._now()):
            return False
        try:
            reply: RenewReply = link.Renew(
                RenewRequest(csr=self.identity.request()), timeout=self._timing.answer_s
            )
        except grpc.RpcError as error:
            raise coded(error) from None
        self.identity = self.identity.renewed(reply.certificate, self._now())
        return True

    def _explained(self, error: ConsiliumError) -> ConsiliumError:
        """What a look at each step of the way says, where the coordinator was never reached."""
        if self._welcomed is not None or not isinstance(error, CoordinatorUnreachable):
            return error
        return error_of(probe(Target.of(self.identity), self._now())) or error

    def _give_up(self) -> None:
        oldest = self._now() - timedelta(milliseconds=WINDOW_MS)
        for task in self.outbox.expire(oldest.timestamp()):
            self._handler.refused(CoordinatorUnreachable(f"task {task}: {_GIVEN_UP}"), task)

    def _say(self, **content: Progress | Status | Envelope) -> None:
        connection = self._connection
        if connection is not None:
            connection.say(**content)

    def _now_ms(self) -> int:
        return int(self._now().timestamp() * 1000)


@contextmanager
def link_client(
    folder: Path,
    handler: Handler,
    *,
    greeting: Greeting,
    passphrase: bytes | None = None,
    timing: Timing | None = None,
    now: Clock = utc_now,
) -> Iterator[LinkClient]:
    """The link of the site whose identity lies in a folder; during the block no other process has it.

    Raises:
        NotEnrolled, KeyUnsafe, KeyUnreadable, CertificateRefused, CertificateExpired: See
            :meth:`SiteIdentity.read`.
        HomeBusy: Another process has it.
        HomeInvalid: A reply in the outbox is not as it was written.
        DiskFull, OutputUnwritable: The folder cannot be used.
    """
    identity = SiteIdentity.read(folder, now(), passphrase)

    def now_ms() -> int:
        return int(now().timestamp() * 1000)

    with _alone(folder), closing(Seen(folder / "seen", now_ms=now_ms)) as seen:
        outbox, blobs = Outbox(folder / "outbox"), BlobStore(folder / "blobs", LIMIT_BYTES, durable=False)
        yield LinkClient(identity, handler, outbox, blobs, seen, greeting=greeting, timing=timing, now=now)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    path = folder / "lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unwritable(path, error) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HomeBusy(
                f"{folder} is in use", hint="Stop the other `consilium site start` first."
            ) from None
        yield
    finally:
        os.close(handle)
