"""A coordinator that does what a test tells it to, over real gRPC and mutual TLS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

from common.link import PROTOCOL, transport

# isort: split
import grpc
from flwr.app import RecordDict

from common.errors import ConsiliumError
from common.identity import (
    Authority,
    Identity,
    Invitation,
    PrivateKey,
    key_pem,
    new_federation,
    new_invitation_id,
    new_signing_key,
    new_tls_key,
    public_text,
    signed,
)
from common.link.envelope import COORDINATOR, Kind, Sealed, Statement, seal
from common.link.link_pb2 import (
    BlobChunk,
    BlobRequest,
    BlobStatus,
    EnrolReply,
    EnrolRequest,
    Envelope,
    FromCoordinator,
    FromSite,
    Goodbye,
    Hello,
    RenewReply,
    RenewRequest,
    Welcome,
)
from common.link.link_pb2_grpc import (
    EnrolmentServicer,
    LinkServicer,
    add_EnrolmentServicer_to_server,
    add_LinkServicer_to_server,
)
from common.link.records import described

PIECE = 64 * 1024


def now() -> datetime:
    return datetime.now(UTC)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def until(happened: Callable[[], Any], timeout_s: float = 10.0) -> None:
    """Wait for something to come true."""
    end = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


@dataclass
class Cut:
    """Where a transfer breaks off, once."""

    after_bytes: int


class Coordinator(LinkServicer, EnrolmentServicer):
    """Answers as it is told.

    Attributes:
        first: What a hello is answered with.
        standing: What each session is told next.
        acknowledges: What a reply is answered with.
        blobs: What it gives out.
        stored: What it was given, whole or not.
        cuts: Where transfers break off, one after the other.
    """

    def __init__(self, federation: str | None = None) -> None:
        self.federation = federation or new_federation()
        self.authority = Authority.new(self.federation, now() - timedelta(days=100))
        self.signing_key = new_signing_key()
        self.first: Callable[[Hello], FromCoordinator] = self.welcome
        self.standing: list[FromCoordinator] = []
        self.acknowledges: Callable[[Sealed], list[FromCoordinator]] = lambda sealed: []
        self.certificate_days = 30
        self.certificates_from: Callable[[], datetime] = now
        self.enrols: Callable[[EnrolRequest], EnrolReply] = self.enrolled
        self.blobs: dict[str, bytes] = {}
        self.stored: dict[str, bytearray] = {}
        self.cuts: list[Cut] = []
        self.hellos: list[Hello] = []
        self.heard: list[FromSite] = []
        self.fetched: list[tuple[str, int]] = []
        self.began: list[tuple[str, int]] = []
        self.requests: list[bytes] = []
        self.callers: list[Identity] = []
        self.address = ""
        self._sessions: list[SimpleQueue[FromCoordinator | None]] = []
        self._server: Any = None

    # What it says

    def welcome(self, hello: Hello, ahead_ms: int = 0, protocol: int = PROTOCOL) -> FromCoordinator:
        welcome = Welcome(protocol=protocol, time_ms=now_ms() + ahead_ms, version="test")
        return FromCoordinator(welcome=welcome)

    def goodbye(self, code: str) -> FromCoordinator:
        return FromCoordinator(goodbye=Goodbye(code=code, public="words of others", hint="do as I say"))

    def task(
        self, content: RecordDict, *, site: str = "alder", key: PrivateKey | None = None, **other: Any
    ) -> FromCoordinator:
        """A task for the site; its weights are given out from now on."""
        description, parts = described(content)
        self.blobs.update({digest: b"".join(map(bytes, pieces)) for digest, pieces in parts.items()})
        says = {
            "message_type": "train",
            "group": "1",
            "deadline_ms": now_ms() + 60_000,
            "records": description,
        }
        task_id = uuid4().hex
        sealed = self.sealed("task", site, {**says, **other.pop("says", {})}, task_id, task_id, key, **other)
        return FromCoordinator(offer=Envelope(body=sealed.body, signature=sealed.signature))

    def acknowledgement(
        self, task: str, digest: str, *, key: PrivateKey | None = None, **other: Any
    ) -> FromCoordinator:
        content = {"digest": digest, "outcome": "stored"}
        sealed = self.sealed("acknowledgement", "alder", content, uuid4().hex, task, key, **other)
        return FromCoordinator(ack=Envelope(body=sealed.body, signature=sealed.signature))

    def sealed(
        self,
        kind: Kind,
        site: str,
        content: Mapping[str, Any],
        name: str,
        about: str,
        key: PrivateKey | None = None,
        *,
        federation: str | None = None,
        issued: int | None = None,
    ) -> Sealed:
        federation, issued = federation or self.federation, now_ms() if issued is None else issued
        statement = Statement(kind, federation, COORDINATOR, site, name, about, issued, "", content)
        return seal(statement, key or self.signing_key)

    def say(self, message: FromCoordinator) -> None:
        """Say something in the newest session."""
        self._sessions[-1].put(message)

    def hang_up(self) -> None:
        """End the newest session without a word."""
        self._sessions[-1].put(None)

    def taken(self) -> list[str]:
        """Tasks that the site said it has."""
        return [message.taken.task for message in self.heard if message.HasField("taken")]

    def replies(self) -> list[Sealed]:
        """Replies that arrived, each as often as it did."""
        heard = [message.reply for message in self.heard if message.HasField("reply")]
        return [Sealed(reply.body, reply.signature) for reply in heard]

    def statuses(self) -> list[tuple[str, dict[str, str]]]:
        """What the site said of how it is."""
        heard = [message.status for message in self.heard if message.HasField("status")]
        return [(status.state, dict(status.facts)) for status in heard]

    # What it answers

    def Session(
        self, requests: Iterator[FromSite], context: grpc.ServicerContext
    ) -> Iterator[FromCoordinator]:
        self.callers.append(transport.peer(context, self.authority.pem, now()))
        hello = next(requests).hello
        self.hellos.append(hello)
        answer = self.first(hello)
        if not answer.HasField("welcome"):
            yield answer
            return
        says: SimpleQueue[FromCoordinator | None] = SimpleQueue()
        self._sessions.append(says)
        for message in (answer, *self.standing):
            says.put(message)
        listener = threading.Thread(target=self._listen, args=(requests, says), daemon=True)
        listener.start()
        context.add_callback(lambda: says.put(None))
        while (next_one := says.get()) is not None:
            yield next_one

    def _listen(self, requests: Iterator[FromSite], says: SimpleQueue[FromCoordinator | None]) -> None:
        try:
            for message in requests:
                self.heard.append(message)
                if message.HasField("reply"):
                    for answer in self.acknowledges(Sealed(message.reply.body, message.reply.signature)):
                        says.put(answer)
        except grpc.RpcError:
            pass
        says.put(None)

    def FetchBlob(self, request: BlobRequest, context: grpc.ServicerContext) -> Iterator[BlobChunk]:
        self.fetched.append((request.digest, request.offset))
        data, cut = self.blobs[request.digest], self.cuts.pop(0) if self.cuts else None
        for offset in range(request.offset, len(data), PIECE):
            if cut is not None and offset >= cut.after_bytes:
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
            piece = data[offset : offset + PIECE]
            yield BlobChunk(digest=request.digest, offset=offset, size=len(data), data=piece)

    def BlobOffset(self, request: BlobRequest, context: grpc.ServicerContext) -> BlobStatus:
        return BlobStatus(offset=len(self.stored.get(request.digest, b"")), complete=False)

    def StoreBlob(self, chunks: Iterator[BlobChunk], context: grpc.ServicerContext) -> BlobStatus:
        cut, first = self.cuts.pop(0) if self.cuts else None, True
        for chunk in chunks:
            kept = self.stored.setdefault(chunk.digest, bytearray())
            if first:
                self.began.append((chunk.digest, chunk.offset))
                first = False
            kept[chunk.offset :] = chunk.data
            if cut is not None and len(kept) >= cut.after_bytes:
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
        return BlobStatus(offset=len(kept), complete=len(kept) == chunk.size)

    def Enrol(self, request: EnrolRequest, context: grpc.ServicerContext) -> EnrolReply:
        self.requests.append(request.SerializeToString())
        self.callers.append(transport.peer(context, self.authority.pem, now()))
        try:
            return self.enrols(request)
        except ConsiliumError as error:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, f"{error.code}: {error.public}")
            raise

    def enrolled(self, request: EnrolRequest, site: str = "alder") -> EnrolReply:
        return EnrolReply(
            certificate=self._certificate(request.csr, site),
            authority=self.authority.pem,
            federation=self.federation,
            coordinator_key=public_text(self.signing_key.public_key()).encode(),
        )

    def Renew(self, request: RenewRequest, context: grpc.ServicerContext) -> RenewReply:
        self.requests.append(request.SerializeToString())
        return RenewReply(certificate=self._certificate(request.csr, "alder"))

    def _certificate(self, csr: bytes, site: str) -> bytes:
        return self.authority.site_certificate(csr, site, self.certificates_from(), self.certificate_days)

    # How it runs

    def invitation(self, site: str = "alder") -> Invitation:
        name = new_invitation_id()
        key, certificate = self.authority.bootstrap(name, now(), 1.0)
        expires = (now() + timedelta(hours=1)).isoformat(timespec="seconds")
        return signed(
            Invitation(
                name,
                self.federation,
                site,
                self.address,
                self.authority.pem.decode(),
                public_text(self.signing_key.public_key()),
                certificate.decode(),
                key.decode(),
                expires,
            ),
            self.signing_key,
        )

    def start(self, port: int = 0, authority: Authority | None = None) -> int:
        """The port it listens on; ``authority``: under another one's certificate."""
        key = new_tls_key()
        issuer = authority or self.authority
        certificate = issuer.coordinator_certificate(key.public_key(), now())
        credentials = transport.server_credentials(key_pem(key), certificate, self.authority.pem)
        self._server = grpc.server(ThreadPoolExecutor(16), options=transport.SERVER_OPTIONS)
        add_LinkServicer_to_server(self, self._server)
        add_EnrolmentServicer_to_server(self, self._server)
        bound = int(self._server.add_secure_port(f"127.0.0.1:{port}", credentials))
        self._server.start()
        self.address = f"127.0.0.1:{bound}"
        return bound

    def stop(self) -> None:
        for session in self._sessions:
            session.put(None)
        self._server.stop(None).wait()

    @contextmanager
    def listening(self, **how: Any) -> Iterator[Coordinator]:
        self.start(**how)
        try:
            yield self
        finally:
            self.stop()
