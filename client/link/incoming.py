"""What arrives signed: judged before anything is done with it.

A task goes these steps: signed by the coordinator for this site; not seen before, unless it is one that was
taken and never answered; not too late; noted on the disk; its weights fetched; handed on. A connection may be
cut, or the process killed, between any two: the task is offered again and goes on from there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from client.link.handler import Handler, OfferedTask
from client.link.identity import SiteIdentity
from client.link.outbox import Outbox
from common.errors import ClockSkewed, EnvelopeRefused
from common.link.blobs import BlobStore
from common.link.envelope import COORDINATOR, MAX_SKEW_MS, Kind, Sealed, Seen, Statement, opened
from common.link.records import announced, restored

Fetch = Callable[[str, int], None]

# A model and the one before: what a round evaluates, the next one trains from.
_TASKS_KEPT = 4


class Incoming:
    """The judge of tasks and acknowledgements; it outlives connections.

    Args:
        identity: Whom they must be for, and whose signature they must bear.
        handler: Who gets what is let through.
        outbox: What is owed.
        blobs: Where weights are put.
        seen: What counted before.
        now_ms: The clock.
    """

    def __init__(
        self,
        identity: SiteIdentity,
        handler: Handler,
        outbox: Outbox,
        blobs: BlobStore,
        seen: Seen,
        now_ms: Callable[[], int],
    ) -> None:
        self._identity = identity
        self._handler = handler
        self._outbox = outbox
        self._blobs = blobs
        self._seen = seen
        self._now_ms = now_ms
        self._at_work: set[str] = set()  # tasks that this process was handed
        self._recent: list[set[str]] = []  # the weights of the last tasks
        self._lock = threading.Lock()

    def task(self, sealed: Sealed) -> Statement:
        """The task in an envelope that arrived; that it did is on the disk when this returns.

        Raises:
            EnvelopeRefused: It is not signed by the coordinator for this site, or comes too late.
            EnvelopeReplayed, ClockSkewed: It was taken before, or is too old to know; or it comes so late by
                our clock that no coordinator with the same time would have sent it.
            DiskFull, OutputUnwritable: That it was taken cannot be noted.
        """
        statement = self._opened(sealed, "task")
        if self._outbox.holds(statement.id) or self._outbox.expected(statement.id) == sealed.digest:
            return statement
        late_ms = self._now_ms() - _deadline_ms(statement)
        if late_ms >= 0:
            kind = EnvelopeRefused if late_ms <= MAX_SKEW_MS else ClockSkewed
            raise kind(f"task {statement.id} came {late_ms / 1000:.0f} s after its deadline")
        # In this order: killed between the two, the task is lost, not open to a replay.
        self._seen.take(statement)
        self._outbox.expect(statement.id, sealed.digest)
        return statement

    def hand_on(self, statement: Statement, fetch: Fetch) -> None:
        """Hand a task on that was let through, once it is whole; again only after a restart.

        Raises:
            EnvelopeRefused, BlobRefused: Its records cannot be read, or are not what was announced.
            DiskFull, OutputUnwritable: Its weights cannot be kept.
            grpc.RpcError: Its weights could not be fetched; another offer goes on from there.
        """
        if statement.id in self._at_work or self._outbox.expected(statement.id) is None:
            return
        task = self._whole(statement, fetch)
        with self._lock:
            if self._outbox.expected(task.id) is None:  # it was cancelled while its weights were fetched
                return
            self._at_work.add(task.id)
        self._handler.offer(task)

    def cancelled(self, task: str) -> bool:
        """Whether a task was expected, which it is no more."""
        with self._lock:
            if self._outbox.expected(task) is None:
                return False
            self._outbox.forget(task)
            self._at_work.discard(task)
            return True

    def acknowledged(self, sealed: Sealed) -> None:
        """Let go of the reply that an envelope acknowledges.

        Raises:
            EnvelopeRefused: It is not signed by the coordinator for this site, or for another reply.
            EnvelopeReplayed, ClockSkewed: It came before, or is too old to know.
            DiskFull, OutputUnwritable: The reply cannot be removed.
        """
        statement = self._opened(sealed, "acknowledgement")
        task, digest = statement.about, statement.content.get("digest")
        if self._outbox.remove(task, str(digest)):
            with self._lock:
                self._at_work.discard(task)
            self._handler.acknowledged(task, str(digest))
        elif self._outbox.holds(task):
            raise EnvelopeRefused(f"an acknowledgement of task {task} names another reply than the one held")
        self._seen.take(statement)

    def _opened(self, sealed: Sealed, kind: Kind) -> Statement:
        return opened(
            sealed,
            self._identity.coordinator,
            kind=kind,
            federation=self._identity.federation,
            sender=COORDINATOR,
            recipient=self._identity.name,
        )

    def _whole(self, statement: Statement, fetch: Fetch) -> OfferedTask:
        message_type, records = (statement.content.get(name) for name in ("message_type", "records"))
        if not isinstance(message_type, str):
            raise EnvelopeRefused(f"task {statement.id} does not say what is to be done")
        wanted = announced(records)
        for digest, size in wanted.items():
            fetch(digest, size)
        content = restored(records, self._blobs.read)
        self._keep(set(wanted))
        digest = self._outbox.expected(statement.id) or ""
        return OfferedTask(statement.id, message_type, statement.contract, statement, content, digest)

    def _keep(self, wanted: set[str]) -> None:
        self._recent = [*self._recent, wanted][-_TASKS_KEPT:]
        self._blobs.keep(set().union(*self._recent))


def _deadline_ms(statement: Statement) -> int:
    deadline = statement.content.get("deadline_ms")
    if type(deadline) is not int:
        raise EnvelopeRefused(f"task {statement.id} has no deadline")
    return deadline
