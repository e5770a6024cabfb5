"""Flower's Grid over the link: nodes are sites, messages are signed tasks, replies what sites signed.

Message ids are ids of tasks in the store, so a coordinator that was restarted can pull what it asked before.
Invariant: a site speaks for itself only. A reply that names another site in its records is an error reply.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from flwr.app import ArrayRecord, Message, RecordDict

from common.errors import ConsiliumError, EnvelopeRefused, SiteRevoked
from common.flower import error_reply, with_message_id
from common.link.records import Blob, announced, blob_of, described, restored
from server.detached import DetachedGrid
from server.journal.endings import is_final
from server.link.bell import Bell
from server.link.log import LinkLog
from server.link.members import Members
from server.link.replies import contract_of
from server.link.sessions import Sessions
from server.link.speaker import Speaker
from server.link.store import Task, Tasks
from server.link.transfers import Transfers
from server.link.warden import EXPIRED

REFUSED = 2
PULL_WAIT_S = 0.05
TIDY_S = 60.0
AT_ONCE_BYTES = 2**26
"""Weights of replies that are in memory together, but for one that is larger."""

MOST_REMEMBERED = 4
"""Records of arrays whose blobs are remembered: one model goes to all sites."""


class LinkGrid(DetachedGrid):
    """Asks the sites that are connected, for one study.

    Args:
        contract: Digest of the contract under which tasks are signed.
        members: Who the sites are.
        sessions: Who is there.
        tasks: What was asked.
        transfers: Moves weights.
        speaker: Signs tasks.
        log: What is told of them.
        bell: Rings when a task has ended.
        now_ms: Milliseconds since 1970, by which the tasks' deadlines are judged.
    """

    def __init__(
        self,
        contract: str,
        members: Members,
        sessions: Sessions,
        tasks: Tasks,
        transfers: Transfers,
        speaker: Speaker,
        log: LinkLog,
        bell: Bell,
        now_ms: Callable[[], int],
    ) -> None:
        super().__init__()
        self._contract = contract
        self._members = members
        self._sessions = sessions
        self._tasks = tasks
        self._transfers = transfers
        self._speaker = speaker
        self._log = log
        self._bell = bell
        self._now_ms = now_ms
        self._waiting: set[str] = set()  # tasks whose replies were not pulled yet
        self._tidied = time.monotonic()
        self._names: dict[int, str] = {}
        self._lock = threading.Lock()
        self._stopped: ConsiliumError | None = None

    def get_node_ids(self) -> Iterable[int]:
        """The sites that are connected.

        Raises:
            ConsiliumError: What :meth:`stop` was given.
        """
        self._require_going()
        return [session.node_id for session in self._sessions.all()]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Sign messages and offer them to their sites; returns their ids in order.

        A site that is not connected is offered its task when it is, if the task has not expired by then.

        Raises:
            EnvelopeRefused, BlobRefused: A message holds what the link does not carry.
            MachineError: It cannot be kept.
            ConsiliumError: What :meth:`stop` was given.
        """
        with self._lock:
            self._require_going()
            self._tidy()
            blobs, head = _Memory(), self._log.head
            tasks = [self._task(message, blobs, head) for message in messages]
            self._tasks.queue(tasks)
            for task in tasks:
                self._waiting.add(task.id)
                self._offer(task)
            for task in tasks:  # the sites are at work meanwhile
                self._note(task)
            return [task.id for task in tasks]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Replies to these messages that are there; waits a moment for the first.

        Not all at once where they are large. A reply is there until it is used.

        Raises:
            ConsiliumError: What :meth:`stop` was given.
        """
        self._require_going()
        ids = list(message_ids)
        heard = self._bell.times
        ended = self._tasks.ended(ids)
        if not ended and self._bell.wait(heard, PULL_WAIT_S):
            ended = self._tasks.ended(ids)
        with self._lock:
            return [self._reply(task) for task in _few([task for task in ended if task.state != EXPIRED])]

    def sent_before(self, group: str) -> Mapping[str, int]:
        """Tasks of a group under this contract that are open, or answered and not used, with their nodes."""
        with self._lock:
            found = [task for task in self._tasks.of_group(group) if contract_of(task) == self._contract]
            self._waiting.update(task.id for task in found)
            return {task.id: task.node_id for task in found}

    def used(self, message_ids: Sequence[str]) -> None:
        """Let go of replies that were pulled: their bodies, and the weights that no other reply names."""
        with self._lock:
            self._let_go(self._tasks.ended(list(message_ids)))

    def cancel(self, reason: str) -> None:
        """Give up all tasks that are not answered: the study has ended, or stops."""
        with self._lock:
            self._withdraw(list(self._waiting), reason)
        self._bell.ring()

    def give_up(self, message_ids: Sequence[str], reason: str) -> None:
        """Give up these tasks: their sites stop working at them, and an answer that came is let go of.

        One that is on its way is acknowledged as late: the task's own text stays to tell that by.
        """
        with self._lock:
            self._withdraw(message_ids, reason)
            self._let_go([task for task in self._tasks.ended(list(message_ids)) if task.reply is not None])

    def _withdraw(self, message_ids: Sequence[str], reason: str) -> None:
        for task in self._tasks.cancel(list(message_ids), reason):
            session = self._sessions.of(task.node_id)
            if session is not None:
                session.withdraw(task.id, reason)
            self._log.note("task.cancelled", task=task.id, contract=self._contract, reason=reason)

    def stop(self, why: ConsiliumError) -> None:
        """Have whoever asks through this Grid, in another thread, end with ``why``.

        Tasks are given up, unless the study is to go on when the coordinator does.
        """
        with self._lock:
            self._stopped = why
        if is_final(why):
            self.cancel(why.code)

    def _require_going(self) -> None:
        if self._stopped is not None:
            raise self._stopped

    def _offer(self, task: Task) -> None:
        session = self._sessions.of(task.node_id)
        if session is not None:
            session.offer(task)
        elif self._is_revoked(task.node_id):
            self._tasks.cancel([task.id], SiteRevoked.code)
            self._bell.ring()

    def _task(self, message: Message, blobs: _Memory, head: str) -> Task:
        about = message.metadata
        site = self._name(about.dst_node_id)
        records, parts = described(message.content, blobs)
        for digest, pieces in parts.items():
            self._transfers.given.put(pieces, digest)
        ttl_ms = int(about.ttl * 1000)
        task_id = uuid4().hex
        content = {
            "message_type": about.message_type,
            "group": about.group_id,
            "deadline_ms": self._speaker.now_ms() + ttl_ms,  # the site knows the computers' clocks alone
            "records": records,
            "audit_head": head,
        }
        sealed = self._speaker.task(site, task_id, self._contract, content)
        until_ms = self._now_ms() + ttl_ms
        return Task(task_id, about.dst_node_id, about.message_type, about.group_id, until_ms, sealed)

    def _note(self, task: Task) -> None:
        sizes = announced(_records(task.envelope.body))
        self._log.note(
            "task.sent",
            task=task.id,
            contract=self._contract,
            site=self._name(task.node_id),
            message_type=task.message_type,
            digest=task.envelope.digest,
            bytes=len(task.envelope.body) + sum(sizes.values()),
        )

    def _reply(self, task: Task) -> Message:
        request = self._request(task)
        if task.reply is None:
            return error_reply(request, REFUSED, task.reason)
        try:
            return Message(self._content(task, task.reply.body), reply_to=request)
        except ConsiliumError as error:
            site = self._name(task.node_id)
            facts = {"task": task.id, "contract": contract_of(task)}
            self._log.refuse("reply.refused", site, error.code, site=site, **facts)
            return error_reply(request, REFUSED, error.code)

    def _content(self, task: Task, body: bytes) -> RecordDict:
        """The records of a reply whose signature was verified when it came.

        Raises:
            EnvelopeRefused, BlobRefused: They are none, or speak for another site.
        """
        content = restored(_records(body), self._transfers.sent_by(task.node_id).read)
        name = self._name(task.node_id)
        # A refusal may leave its site's name empty; the signature says whose it is.
        if any(record.get("site", name) not in (name, "") for record in content.config_records.values()):
            raise EnvelopeRefused(f"a reply of {name} speaks for another site")
        return content

    def _request(self, task: Task) -> Message:
        """The message that a task was, without its content: that is not needed to answer it."""
        message = Message(RecordDict(), task.node_id, task.message_type, group_id=task.group)
        return with_message_id(message, task.id)

    def _name(self, node_id: int) -> str:
        """Name of a site, which it keeps for ever.

        Raises:
            EnvelopeRefused: There is none with this number.
        """
        if node_id not in self._names:
            site = self._members.node(node_id)
            if site is None:
                raise EnvelopeRefused(f"there is no node {node_id}")
            self._names[node_id] = site.name
        return self._names[node_id]

    def _is_revoked(self, node_id: int) -> bool:
        site = self._members.node(node_id)
        return site is None or site.revoked_at is not None

    def _let_go(self, ended: list[Task]) -> None:
        """Forget tasks whose replies were pulled, and the weights that no other reply names."""
        if not ended:
            return
        ids = [task.id for task in ended]
        self._tasks.collect(ids)
        self._waiting.difference_update(ids)
        used = {(task.node_id, digest) for task in ended for digest in _named(task)}
        if used:
            others = self._tasks.ended(list(self._waiting))
            used -= {(task.node_id, digest) for task in others for digest in _named(task)}
        for node_id, digest in used:
            self._transfers.sent_by(node_id).remove(digest)

    def _tidy(self) -> None:
        """Forget tasks that expired unheard, and weights that nothing needs; now and then is enough."""
        if time.monotonic() - self._tidied < TIDY_S:
            return
        self._tidied = time.monotonic()
        self._let_go([task for task in self._tasks.ended(list(self._waiting)) if task.state == EXPIRED])
        self._transfers.tidy([site.node_id for site in self._members.sites()])


class _Memory:
    """What blobs records of arrays make, worked out once for those that were last asked for."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[ArrayRecord, Blob]] = {}

    def __call__(self, record: ArrayRecord) -> Blob:
        # By identity: the record is kept beside its blob, so no other can get its number meanwhile.
        if id(record) not in self._known:
            while len(self._known) >= MOST_REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[id(record)] = (record, blob_of(record))
        return self._known[id(record)][1]


def _few(tasks: Sequence[Task]) -> Iterator[Task]:
    """The first of the tasks, and those after it while all weights are less than ``AT_ONCE_BYTES``."""
    total = 0
    for number, task in enumerate(tasks):
        total += sum(_sizes(task).values())
        if number and total > AT_ONCE_BYTES:
            return
        yield task


def _records(body: bytes) -> Mapping[str, Any]:
    records: Mapping[str, Any] = json.loads(body)["content"]["records"]
    return records


def _named(task: Task) -> set[str]:
    """Digests of the weights in a task's reply."""
    return set(_sizes(task))


def _sizes(task: Task) -> Mapping[str, int]:
    if task.reply is None:
        return {}
    try:
        return announced(_records(task.reply.body))
    except EnvelopeRefused:
        return {}
