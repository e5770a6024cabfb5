"""A stand-in for a site that speaks the link with raw stubs, honestly or not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

import grpc
import pytest
from flwr.app import RecordDict

from common.identity.authority import site_request
from common.identity.certificates import identity_of
from common.identity.keys import PrivateKey, key_pem, new_tls_key
from common.link import PROTOCOL
from common.link.blobs import Parts
from common.link.envelope import COORDINATOR, Kind, Sealed, Statement, opened, seal
from common.link.link_pb2 import (
    BlobChunk,
    BlobRequest,
    BlobStatus,
    EnrolRequest,
    Envelope,
    FromCoordinator,
    FromSite,
    Goodbye,
    Hello,
    RenewRequest,
)
from common.link.link_pb2_grpc import EnrolmentStub, LinkStub
from common.link.pieces import MOST_BYTES
from common.link.records import described, restored
from common.link.transport import channel
from server.link.home import CoordinatorHome

WAIT_S = 5.0
CONTRACT = "c" * 64


class Clock:
    """A clock that can be set ahead."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Line:
    """One session: what is said goes out in order, what comes is kept until it is asked for."""

    def __init__(self, link: LinkStub) -> None:
        self._out: SimpleQueue[FromSite | None] = SimpleQueue()
        self._in: SimpleQueue[FromCoordinator | grpc.RpcError | None] = SimpleQueue()
        self.call = link.Session(iter(self._out.get, None))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def say(self, **content: Any) -> None:
        self._out.put(FromSite(**content))

    def hang_up(self) -> None:
        self._out.put(None)
        self.call.cancel()
        self._reader.join(WAIT_S)

    def hear(self, timeout_s: float = WAIT_S) -> FromCoordinator:
        """What came next; an error of the call is raised."""
        try:
            heard = self._in.get(timeout=timeout_s)
        except Empty:
            raise AssertionError("nothing was said") from None
        if isinstance(heard, grpc.RpcError):
            raise heard
        assert heard is not None, "the session is over"
        return heard

    def expect(self, kind: str, timeout_s: float = WAIT_S) -> Any:
        """What came next, which is of this kind."""
        message = self.hear(timeout_s)
        assert message.WhichOneof("content") == kind, message
        return getattr(message, kind)

    def silent(self, for_s: float = 0.15) -> bool:
        """Whether nothing comes."""
        try:
            return self._in.get(timeout=for_s) is None
        except Empty:
            return True

    def over(self, timeout_s: float = WAIT_S) -> grpc.RpcError | None:
        """How the session ended, after whatever was said before that."""
        while True:
            heard = self._in.get(timeout=timeout_s)
            if heard is None or isinstance(heard, grpc.RpcError):
                return heard

    def goodbye(self, timeout_s: float = WAIT_S) -> Goodbye:
        """The goodbye that came next, and the end right after it."""
        goodbye: Goodbye = self.expect("goodbye", timeout_s)
        assert self.over(timeout_s) is None
        return goodbye

    def _read(self) -> None:
        try:
            for message in self.call:
                self._in.put(message)
            self._in.put(None)
        except grpc.RpcError as error:
            self._in.put(error)


@dataclass(frozen=True)
class Hospital:
    """Who a site is, and where its coordinator listens."""

    name: str
    node_id: int
    key: PrivateKey
    certificate: bytes
    home: CoordinatorHome
    port: int

    @classmethod
    def enrolled(cls, home: CoordinatorHome, port: int, name: str, now: datetime) -> Hospital:
        """A site that enrolled without the network."""
        key, invitation = new_tls_key(), home.enrolment.invite(name)
        bootstrap = identity_of(invitation.bootstrap_certificate.encode(), home.authority.pem, now)
        csr = site_request(key, home.federation, name)
        pem = home.enrolment.enrol(
            bootstrap, csr, invitation.id, f"ipv4:192.0.2.{sum(name.encode()) % 250}:1"
        )
        site = home.store.members.site(name)
        assert site is not None
        return cls(name, site.node_id, key, pem, home, port)

    def with_certificate(self, key: PrivateKey, certificate: bytes) -> Hospital:
        return replace(self, key=key, certificate=certificate)

    @contextmanager
    def link(self) -> Iterator[LinkStub]:
        with self.channel() as opened_channel:
            yield LinkStub(opened_channel)

    def channel(self, **options: Any) -> Any:
        return channel(
            f"127.0.0.1:{self.port}",
            self.home.federation,
            key_pem(self.key),
            self.certificate,
            self.home.authority.pem,
            **options,
        )

    def raw(self, said: list[bytes]) -> list[FromCoordinator]:
        """What is answered to a hello and these bytes, of whatever size."""
        hello = FromSite(hello=self.hello()).SerializeToString()
        with self.channel(options=[("grpc.max_send_message_length", -1)]) as opened_channel:
            call = opened_channel.stream_stream("/consilium.link.v1.Link/Session")
            answers = call(iter([hello, *said]), timeout=WAIT_S)
            return [FromCoordinator.FromString(data) for data in answers]

    def attempt(self, rpc: str) -> grpc.RpcError:
        """How a call fails."""
        request = BlobRequest(digest="d" * 64)
        with self.channel() as opened_channel:
            link, enrolment = LinkStub(opened_channel), EnrolmentStub(opened_channel)
            calls: dict[str, Callable[[], Any]] = {
                "Enrol": lambda: enrolment.Enrol(EnrolRequest(invitation_id="e" * 32), timeout=WAIT_S),
                "Session": lambda: list(link.Session(iter([FromSite(hello=self.hello())]), timeout=WAIT_S)),
                "Renew": lambda: link.Renew(RenewRequest(csr=b"none"), timeout=WAIT_S),
                "FetchBlob": lambda: list(link.FetchBlob(request, timeout=WAIT_S)),
                "BlobOffset": lambda: link.BlobOffset(request, timeout=WAIT_S),
                "StoreBlob": lambda: link.StoreBlob(chunks_of("d" * 64, b"data"), timeout=WAIT_S),
            }
            with pytest.raises(grpc.RpcError) as raised:
                calls[rpc]()
            return raised.value

    def hello(self, **changes: Any) -> Hello:
        about: dict[str, Any] = {
            "protocol": PROTOCOL,
            "version": "1.2",
            "session_id": uuid4().hex,
            "time_ms": int(datetime.now(UTC).timestamp() * 1000),
        }
        return Hello(**{**about, **changes})

    @contextmanager
    def calling(self) -> Iterator[Line]:
        """A session in which nothing was said yet."""
        with self.link() as link:
            line = Line(link)
            try:
                yield line
            finally:
                line.hang_up()

    @contextmanager
    def session(self, **changes: Any) -> Iterator[Line]:
        """A session whose hello was welcome."""
        with self.calling() as line:
            line.say(hello=self.hello(**changes))
            assert line.expect("welcome").protocol == PROTOCOL
            yield line

    def task_in(self, envelope: Envelope) -> Statement:
        """A task that was offered to this site."""
        return opened(
            Sealed(envelope.body, envelope.signature),
            self.home.signing_key.public_key(),
            kind="task",
            federation=self.home.federation,
            sender=COORDINATOR,
            recipient=self.name,
        )

    def acknowledged(self, envelope: Envelope) -> tuple[str, str, str]:
        """Task, digest and outcome of an acknowledgement that the coordinator signed for this site."""
        statement = opened(
            Sealed(envelope.body, envelope.signature),
            self.home.signing_key.public_key(),
            kind="acknowledgement",
            federation=self.home.federation,
            sender=COORDINATOR,
            recipient=self.name,
        )
        return statement.about, statement.content["digest"], statement.content["outcome"]

    def fetch(self, digest: str, offset: int = 0) -> bytes:
        with self.link() as link:
            chunks = link.FetchBlob(BlobRequest(digest=digest, offset=offset), timeout=WAIT_S)
            return b"".join(chunk.data for chunk in chunks)

    def content_of(self, task: Statement) -> RecordDict:
        return restored(task.content["records"], self.fetch)

    def store(self, parts: Mapping[str, Parts]) -> None:
        """Send weights, whole."""
        with self.link() as link:
            for digest, pieces in parts.items():
                status = link.StoreBlob(iter(chunks_of(digest, b"".join(pieces))), timeout=WAIT_S)
                assert status.complete

    def offset(self, digest: str) -> BlobStatus:
        with self.link() as link:
            status: BlobStatus = link.BlobOffset(BlobRequest(digest=digest), timeout=WAIT_S)
            return status

    def reply(self, task: str, records: RecordDict, **changes: Any) -> tuple[Sealed, dict[str, Parts]]:
        """A signed reply to a task, and its weights; ``changes`` are to what the statement says."""
        description, parts = described(records)
        said = {"records": description, "audit_head": f"7:{'a' * 64}", **changes.pop("content", {})}
        return self.said(changes.pop("kind", "reply"), task, said, **changes), parts

    def said(self, kind: Kind, about: str, content: Mapping[str, Any], **changes: Any) -> Sealed:
        key = changes.pop("key", self.key)
        about_it: dict[str, Any] = {
            "kind": kind,
            "federation": self.home.federation,
            "sender": self.name,
            "recipient": COORDINATOR,
            "id": uuid4().hex,
            "about": about,
            "issued": int(datetime.now(UTC).timestamp() * 1000),
            "contract": CONTRACT,
            "content": content,
        }
        return seal(Statement(**{**about_it, **changes}), key)

    def answer(self, line: Line, content: RecordDict) -> Sealed:
        """Take the next task that is offered and answer it; what was sent."""
        task = self.task_in(line.expect("offer"))
        sealed, parts = self.reply(task.id, content)
        self.store(parts)
        line.say(reply=envelope_of(sealed))
        return sealed


def chunks_of(digest: str, data: bytes, offset: int = 0) -> Iterator[BlobChunk]:
    for start in range(offset, len(data), MOST_BYTES):
        piece = data[start : start + MOST_BYTES]
        yield BlobChunk(digest=digest, offset=start, size=len(data), data=piece)


def envelope_of(sealed: Sealed) -> Envelope:
    return Envelope(body=sealed.body, signature=sealed.signature)
