"""One session with the coordinator, from hello to its end.

The caller's thread judges what arrives, in order, and keeps up the heartbeat. Weights come in and go out in a
thread each, so that neither a large model nor a slow disk delays a cancellation.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

import grpc

from client.link.dialling import link_over
from client.link.failures import coded, printable
from client.link.handler import Handler
from client.link.hello import checked_skew, raise_goodbye, skew_of
from client.link.incoming import Incoming
from client.link.outbox import HeldReply, Outbox
from client.link.timing import Timing
from client.link.transfers import fetch, upload
from common.errors import ConsiliumError, CoordinatorUnreachable, EnvelopeReplayed
from common.link.blobs import BlobStore
from common.link.envelope import Sealed, Statement
from common.link.link_pb2 import Envelope, FromCoordinator, FromSite, Heartbeat, Hello, Status, Taken
from common.link.link_pb2_grpc import LinkStub

_TICK_S = 0.1
_FAREWELL_S = 1.0

Arrival = FromCoordinator | BaseException | None  # what came, why nothing comes any more, or a nudge
Renew = Callable[[LinkStub], bool]


class Connection:
    """A session over a channel, which it closes.

    Args:
        channel: To the coordinator.
        incoming: The judge of what arrives.
        handler: Whoever works behind the link.
        outbox: What is owed.
        blobs: Where weights of tasks are put.
        timing: How long things may take.
        now_ms: The clock.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        incoming: Incoming,
        handler: Handler,
        outbox: Outbox,
        blobs: BlobStore,
        timing: Timing,
        now_ms: Callable[[], int],
    ) -> None:
        self._channel = channel
        self._link = link_over(channel)
        self._incoming, self._handler = incoming, handler
        self._outbox, self._blobs = outbox, blobs
        self._timing, self._now_ms = timing, now_ms
        self._out: SimpleQueue[FromSite | None] = SimpleQueue()
        self._in: SimpleQueue[Arrival] = SimpleQueue()
        self._fetching = ThreadPoolExecutor(1, "link-in")
        self._sending = ThreadPoolExecutor(1, "link-out")
        self._offered: set[str] = set()  # tasks of this session
        self._sent: dict[str, float] = {}  # when each reply was sent; infinity: it is on its way
        self._leaving = threading.Event()

    def run(self, hello: Hello, stop: threading.Event, welcomed: Callable[[int], None], renew: Renew) -> None:
        """Live the session until ``stop`` is set or ``renew`` says that it renewed the certificate.

        Args:
            hello: The first words.
            stop: When to end.
            welcomed: Called once the coordinator has let us in, with what :func:`skew_of` found.
            renew: Called now and then; whether the certificate was replaced, so that another session is due.

        Raises:
            TrustError: Why it ended otherwise; ``CoordinatorUnreachable`` if nobody decided that it should.
        """
        with self._opened(hello) as reader:
            answer = self._first(stop)
            if answer is not None:
                welcomed(skew_of(answer, self._now_ms()))
                self._live(stop, renew)
            self._out.put(None)
            reader.join(_FAREWELL_S)

    def say(self, **content: Any) -> None:
        """Send one message, ``say(heartbeat=Heartbeat(...))``; it may be lost with the connection."""
        self._out.put(FromSite(**content))

    @contextmanager
    def _opened(self, hello: Hello) -> Iterator[threading.Thread]:
        self.say(hello=hello)
        call = self._link.Session(iter(self._out.get, None))
        reader = threading.Thread(target=self._read, args=(call,), name="link-reader", daemon=True)
        reader.start()
        self._outbox.listen(self._nudge)
        try:
            yield reader
        finally:
            self._outbox.listen(None)
            self._out.put(None)
            call.cancel()
            self._channel.close()  # which ends the transfers, too
            for pool in (self._fetching, self._sending):
                pool.shutdown(cancel_futures=True)
            reader.join()

    def _read(self, call: Iterator[FromCoordinator]) -> None:
        try:
            for message in call:
                self._in.put(message)
            self._in.put(CoordinatorUnreachable("the coordinator ended the session"))
        except grpc.RpcError as error:
            self._in.put(coded(error))

    def _first(self, stop: threading.Event) -> FromCoordinator | None:
        """The coordinator's first word; None if there was to be none."""
        until = time.monotonic() + self._timing.answer_s
        while not stop.is_set():
            answer = self._next()
            if answer is not None:
                return answer
            if time.monotonic() > until:
                raise CoordinatorUnreachable(f"the coordinator said nothing for {self._timing.answer_s} s")
        return None

    def _live(self, stop: threading.Event, renew: Renew) -> None:
        beat = look = time.monotonic()
        while not stop.is_set() and not self._leaving.is_set():
            now = time.monotonic()
            if now >= beat:
                beat = now + self._timing.heartbeat_s
                self.say(heartbeat=Heartbeat(time_ms=self._now_ms()))
            if now >= look:
                look = now + self._timing.renewal_s
                self._work(self._sending, "certificate", self._renew, renew)
            self._send_due(now)
            message = self._next()
            if message is not None:
                self._take(message)

    def _next(self) -> FromCoordinator | None:
        try:
            arrival = self._in.get(timeout=_TICK_S)
        except Empty:
            return None
        if isinstance(arrival, BaseException):
            raise arrival
        return arrival

    def _nudge(self) -> None:
        self._in.put(None)

    def _take(self, message: FromCoordinator) -> None:
        kind = message.WhichOneof("content")
        if kind == "offer":
            self._judged("task", self._offer, _sealed(message.offer))
        elif kind == "ack":
            self._judged("acknowledgement", self._incoming.acknowledged, _sealed(message.ack))
        elif kind == "cancel":
            self._cancel(message.cancel.task, printable(message.cancel.reason))
        elif kind == "contract":
            self._handler.contract(_sealed(message.contract))
        elif kind == "goodbye":
            raise_goodbye(message.goodbye)
        elif kind == "heartbeat":
            checked_skew(message.heartbeat.time_ms, self._now_ms())  # one of the clocks may have been stepped
        # What a newer coordinator says beside it cannot have an answer.

    def _offer(self, sealed: Sealed) -> None:
        statement = self._incoming.task(sealed)
        if statement.id in self._offered:
            raise EnvelopeReplayed(f"task {statement.id} was offered twice in one session")
        self._offered.add(statement.id)
        self._work(self._fetching, statement.id, self._hand_on, statement)

    def _hand_on(self, statement: Statement) -> None:
        self._incoming.hand_on(statement, partial(fetch, self._link, self._blobs))
        self.say(taken=Taken(task=statement.id))

    def _cancel(self, task: str, reason: str) -> None:
        if self._outbox.holds(task):
            self._sent[task] = math.inf  # it is not wanted, and stays all the same: this is not signed
        elif self._incoming.cancelled(task):
            self._handler.cancel(task, reason)

    def _send_due(self, now: float) -> None:
        for reply in self._outbox.held():
            if now - self._sent.get(reply.task, -math.inf) >= self._timing.resend_s:
                self._sent[reply.task] = math.inf
                self._work(self._sending, reply.task, self._send, reply)

    def _send(self, reply: HeldReply) -> None:
        for digest in reply.blobs:
            upload(self._link, self._outbox.blobs, digest, self._timing.answer_s)
        self.say(reply=Envelope(body=reply.sealed.body, signature=reply.sealed.signature))
        self._sent[reply.task] = time.monotonic()

    def _renew(self, renew: Renew) -> None:
        if renew(self._link):
            self._leaving.set()
            self._nudge()

    def _work(self, pool: ThreadPoolExecutor, about: str, step: Callable[..., None], *given: Any) -> None:
        """Do a step in another thread; a defect in it is raised in ours."""
        pool.submit(self._judged, about, step, *given).add_done_callback(self._done)

    def _done(self, future: Future[None]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None:
            self._in.put(error)

    def _judged(self, about: str, step: Callable[..., None], *given: Any) -> None:
        """Do a step; what is refused in it is reported to both sides."""
        try:
            step(*given)
        except (grpc.RpcError, ConsiliumError) as raised:
            error = coded(raised) if isinstance(raised, grpc.RpcError) else raised
            if isinstance(error, CoordinatorUnreachable):
                raise error from None
            self._handler.refused(error, about)
            self.say(status=Status(state="refused", facts={"code": error.code, "about": about}))


def _sealed(envelope: Envelope) -> Sealed:
    return Sealed(envelope.body, envelope.signature)
