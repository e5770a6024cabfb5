"""The desk on which tasks are worked at, one after the other: checked, run in the child, signed, put out.

Invariants:

- Nothing runs that the check of this moment does not let pass, and what was withdrawn meanwhile ends.
- Each task that came has an entry in the audit log, and so has whatever left the site because of it, before
  it leaves.
- What outlives a task (``client.checkpoints``) is let go of once its answer is in the outbox, and not before.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from client.checkpoints import TaskFolder, task_folder
from client.cohorts.home import Home
from client.consent import Approved, Consents, check_task, consented
from client.daemon.status import StatusBoard
from client.executor import Cancelled, Executor, Order
from client.link import OfferedTask, Outbox, SiteIdentity, sealed_reply
from client.site import Site
from common.chain import Clock, utc_now
from common.errors import (
    ConsiliumError,
    DeviceFailed,
    DiskFull,
    ExecutorDied,
    ModelDiverged,
    OutputUnwritable,
    Refusal,
)
from common.evidence.heads import PeerHeads
from common.link.blobs import BlobStore
from common.link.envelope import COORDINATOR
from common.link.records import announced, described, inline
from common.tasks import EvaluateTask, TrainTask, read_about, read_refusal, refusal_content

log = logging.getLogger("consilium.site")

WATCH_S = 0.5
"""Between two looks at whether the study that is worked at is still approved."""

RETRIES = 2
"""How often a task is begun again whose process died, or whose GPU failed; it goes on from its checkpoint."""

PAUSE_S = 5.0
"""Before it is, and before a disk that was full is tried again: who took the memory may have gone by then."""

Place = Callable[[Approved], Site]


@dataclass(frozen=True, slots=True)
class _Answer:
    """What to reply to a task, and who worked at it; nobody where it was refused at this desk.

    Attributes:
        records: As :func:`common.link.records.described` describes them.
    """

    records: Mapping[str, Any]
    site: Site | None = None

    @property
    def refusal(self) -> Refusal | None:
        """The refusal that this is, or None."""
        return read_refusal(inline(self.records))

    @property
    def over(self) -> bool:
        """Whether the same task would be answered with the same.

        It is not after most refusals: for the hour, for a disk that is full; the task may come again.
        """
        refusal = self.refusal
        return refusal is None or refusal.code == ModelDiverged.code

    def folder(self, task: OfferedTask) -> TaskFolder:
        """What outlived the processes that worked at the task."""
        if self.site is None:
            return TaskFolder(None)
        match self._asked(task):
            case TrainTask() as asked:
                return task_folder(self.site.state, self.site.name, "training", asked)
            case EvaluateTask() as counted:
                return task_folder(self.site.state, self.site.name, "evaluation", counted)
            case None:
                return TaskFolder(None)

    def model(self, task: OfferedTask) -> dict[str, str]:
        """The model that this is an answer about, as a fact for the log; none of a refusal.

        Who worked at the task has checked that the weights have that digest.
        """
        asked = None if self.refusal is not None else self._asked(task)
        return {} if asked is None else {"model": asked.base_digest}

    def _asked(self, task: OfferedTask) -> TrainTask | EvaluateTask | None:
        if self.site is not None and task.message_type == "train":
            return read_about(task.content, TrainTask)
        if self.site is not None and task.message_type == "evaluate":
            return read_about(task.content, EvaluateTask)
        return None


class Desk:
    """Where tasks wait and are worked at.

    Args:
        home: The site's home.
        identity: Gives who signs what leaves; it changes when the certificate is renewed.
        consents: What the hospital agreed to.
        executor: Trains.
        outbox: Takes what leaves.
        made: The weights of replies, as the executor's child put them.
        board: Where the status is written.
        place: Where the cases of an approved study are, and what trains on them.
        now: The clock.
        progress: Told now and then which task is how far, and what is done in it.
        pause_s: Before a task is begun again whose process died, or that the disk had no room for.
    """

    def __init__(
        self,
        home: Home,
        identity: Callable[[], SiteIdentity],
        consents: Consents,
        executor: Executor,
        outbox: Outbox,
        made: BlobStore,
        board: StatusBoard,
        *,
        place: Place,
        now: Clock = utc_now,
        progress: Callable[[str, float, str], None] = lambda task, done, what: None,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._identity = identity
        self._home, self._consents, self._executor = home, consents, executor
        self._outbox, self._made, self._board = outbox, made, board
        self._place, self._now, self._pause_s = place, now, pause_s
        self._progress = progress
        self._heads = PeerHeads(home.audit_log)
        self._waiting: queue.SimpleQueue[OfferedTask | None] = queue.SimpleQueue()
        self._cancelled: set[str] = set()
        self._ends: dict[str, float] = {}  # when each task is too late, by a clock that nobody steps
        self._closed = threading.Event()

    def take(self, task: OfferedTask) -> None:
        """Let a task wait for its turn."""
        deadline_ms = task.statement.content.get("deadline_ms")
        if isinstance(deadline_ms, int):
            left_s = deadline_ms / 1000 - self._now().timestamp()
            self._ends[task.id] = time.monotonic() + left_s
        self._waiting.put(task)

    def cancel(self, task_id: str) -> None:
        """Give up a task, whether it waits or is worked at."""
        self._cancelled.add(task_id)
        self._executor.cancel(task_id)

    def close(self) -> None:
        """Let :meth:`work` return after the task that it is at; what waits is offered again another time."""
        self._closed.set()
        self._waiting.put(None)

    def work(self) -> None:
        """Work at tasks as they come, until :meth:`close`."""
        while (task := self._waiting.get()) is not None and not self._closed.is_set():
            self._one(task)

    def _one(self, task: OfferedTask) -> None:
        try:
            self._patiently(task, lambda: self._begin(task))
            answer = self._answered(task)
            if answer is not None:
                self._patiently(task, lambda: self._release(task, answer))
            self._made.keep(set())
        except ConsiliumError as error:  # the disk, or the log itself: nothing may leave
            log.error("task %s: %s: %s", task.id[:8], error.code, error.hint)
        finally:
            self._cancelled.discard(task.id)
            self._ends.pop(task.id, None)
            self._board.task("")

    def _begin(self, task: OfferedTask) -> None:
        where = {"contract": task.contract_digest, "message_type": task.message_type}
        self._home.audit("task.received", task=task.id, **where)
        self._note_head(task)

    def _patiently(self, task: OfferedTask, action: Callable[[], None]) -> None:
        """Do something, once the disk has room for it: the task would not be offered again before a restart.

        Raises:
            DiskFull, OutputUnwritable: It has none before the task is too late, or the daemon ends.
            Others as ``action``; nothing may leave.
        """
        while True:
            try:
                action()
            except (DiskFull, OutputUnwritable) as error:
                if self._late(task) or task.id in self._cancelled:
                    raise
                log.error("task %s waits: %s: %s", task.id[:8], error.code, error.hint)
                if self._closed.wait(self._pause_s):
                    raise
            else:
                return

    def _late(self, task: OfferedTask) -> bool:
        return time.monotonic() > self._ends.get(task.id, math.inf)

    def _note_head(self, task: OfferedTask) -> None:
        """Keep the head of the coordinator's log: it can then not rewrite what it told us."""
        head = str(task.statement.content.get("audit_head", ""))
        if not self._heads.note(COORDINATOR, head, task.digest, task.statement.issued):
            log.error("the coordinator's audit log cannot be the one that it was: `consilium audit verify`")

    def _answered(self, task: OfferedTask) -> _Answer | None:
        """What to reply; None where nobody waits for it."""
        try:
            return self._made_of(task, self._run(task, self._check(task)))
        except Cancelled:
            self._home.audit("task.cancelled", task=task.id, contract=task.contract_digest)
            return None
        except ConsiliumError as error:
            self._note_refusal(task, error.code)
            return self._refusal(error)
        except Exception as defect:  # noqa: BLE001  the thread's edge: one task must not end all later ones
            self._home.audit("task.failed", task=task.id, contract=task.contract_digest, code="internal")
            log.error("task %s: internal: %s", task.id[:8], type(defect).__name__)  # its text may quote data
            return self._refusal(ConsiliumError())

    def _refusal(self, error: ConsiliumError) -> _Answer:
        return _Answer(described(refusal_content(error.refusal(), self._identity().name))[0])

    def _made_of(self, task: OfferedTask, answer: _Answer) -> _Answer:
        """What the process that trains made, which may be a refusal as well."""
        refusal = answer.refusal
        if refusal is not None:
            self._note_refusal(task, refusal.code)
        return answer

    def _note_refusal(self, task: OfferedTask, code: str) -> None:
        event = "task.failed" if code in (ExecutorDied.code, ConsiliumError.code) else "task.refused"
        self._home.audit(event, task=task.id, contract=task.contract_digest, code=code)
        log.warning("task %s: %s", task.id[:8], code)

    def _check(self, task: OfferedTask) -> Approved:
        return check_task(self._consents, task.contract_digest, task.message_type, task.content, self._now())

    def _consented(self, task: OfferedTask) -> None:
        consented(self._consents, task.contract_digest, self._now())

    def _run(self, task: OfferedTask, approved: Approved) -> _Answer:
        if self._late(task) or task.id in self._cancelled:
            raise Cancelled
        self._board.task(f"{task.message_type} for {approved.contract.name}")
        site = self._place(approved)
        order = Order(task.id, task.message_type, site.node_config(), task.statement.content["records"])
        with self._watched(task):
            try:
                records = self._executed(order)
            except Cancelled:
                self._consented(task)  # if it was withdrawn, that is what the coordinator is told
                raise
        self._consented(task)
        return _Answer(records, site)

    def _executed(self, order: Order) -> Mapping[str, Any]:
        """What the process that trains answers; one that dies is given the task again, a few times."""
        for _ in range(RETRIES):
            try:
                records = self._tried(order)
                refusal = read_refusal(inline(records))
                if refusal is None or refusal.code != DeviceFailed.code:
                    return records
                code = refusal.code
            except ExecutorDied as error:
                code = error.code
            self._home.audit("executor.died", task=order.task, code=code)
            log.warning("task %s: %s; it goes on from its last checkpoint", order.task[:8], code)
            if self._closed.wait(self._pause_s) or order.task in self._cancelled:
                raise Cancelled
        return self._tried(order)

    def _tried(self, order: Order) -> Mapping[str, Any]:
        return self._executor.run(order, lambda done: self._progress(order.task, done, order.message_type))

    @contextmanager
    def _watched(self, task: OfferedTask) -> Iterator[None]:
        """End the task during the block as soon as it may not run any more."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(WATCH_S):
                try:
                    self._consented(task)
                except ConsiliumError:
                    self._executor.cancel(task.id)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def _release(self, task: OfferedTask, answer: _Answer) -> None:
        now_ms, head = int(self._now().timestamp() * 1000), self._home.audit_log.head
        sealed, blobs = (
            sealed_reply(self._identity(), task, answer.records, now_ms, head),
            announced(answer.records),
        )
        size = len(sealed.body) + sum(blobs.values())
        facts = {"contract": task.contract_digest, "message_type": task.message_type}
        facts |= answer.model(task)
        self._home.audit("release.sent", task=task.id, digest=sealed.digest, bytes=size, **facts)
        self._outbox.put(task.id, sealed, tuple(blobs), self._made)
        if answer.over:
            answer.folder(task).clear()
