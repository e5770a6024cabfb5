"""What sites answer: proved to be theirs, kept, and only then acknowledged.

Invariants:

- A reply counts once, for the one task, site and contract that it was signed for.
- What is acknowledged is on the disk and in the audit log, its weights included.
- What is refused ends the task at most that its own sender was given.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from common.errors import ConsiliumError, EnvelopeRefused, EnvelopeReplayed
from common.evidence.entry import Head
from common.evidence.heads import PeerHeads
from common.identity.keys import public_of
from common.link.envelope import COORDINATOR, Kind, Sealed, Statement, opened
from common.link.link_pb2 import Cancel, FromCoordinator
from common.link.records import announced
from server.link.bell import Bell
from server.link.log import LinkLog
from server.link.members import Members, SiteRow
from server.link.speaker import Speaker, enveloped
from server.link.store import Reception, Task, Tasks
from server.link.transfers import Transfers

LATE, STORED = "late", "stored"


@dataclass(frozen=True, slots=True)
class Replies:
    """Takes replies; threads may share it.

    Attributes:
        tasks: What was asked.
        members: Who may sign.
        transfers: Where the weights are.
        log: What is told of it.
        heads: Keeps where the sites' own logs end: they cannot be rewritten unnoticed any more.
        speaker: Signs acknowledgements.
        bell: Rung when a task has ended.
        now_ms: Milliseconds since 1970, by which the tasks' deadlines are judged.
    """

    tasks: Tasks
    members: Members
    transfers: Transfers
    log: LinkLog
    heads: PeerHeads
    speaker: Speaker
    bell: Bell
    now_ms: Callable[[], int]

    def receive(self, site: SiteRow, sealed: Sealed) -> FromCoordinator:
        """What a site is told of its reply: that it is acknowledged, or that nobody wants it.

        Raises:
            BlobRefused: Weights that it names have not come; it may come again with them.
            MachineError: It cannot be kept.
        """
        try:
            return self._taken(site, self.opened(site, sealed, "reply"), sealed)
        except (EnvelopeRefused, EnvelopeReplayed) as error:
            return self._refused(site, sealed, error)

    def opened(self, site: SiteRow, sealed: Sealed, kind: Kind) -> Statement:
        """A statement that a site signed, with any of its keys that are good.

        Raises:
            EnvelopeRefused: It did not.
        """
        refusal = EnvelopeRefused(f"{site.name} has no good key")
        for public in self.members.keys(site.node_id):
            try:
                return opened(
                    sealed,
                    public_of(public),
                    kind=kind,
                    federation=self.speaker.federation,
                    sender=site.name,
                    recipient=COORDINATOR,
                )
            except EnvelopeRefused as error:
                refusal = error
        raise refusal

    def known(self, site: SiteRow, task_id: str) -> FromCoordinator | None:
        """What to tell a site at once of a reply that it holds; None if it should send it."""
        task = self._task_of(site, task_id)
        if task is None:
            return FromCoordinator(cancel=Cancel(task=task_id[:64], reason=EnvelopeRefused.code))
        if task.reply_digest is None:
            return None
        return self._acknowledged(site, task, task.reply_digest, STORED)

    def _taken(self, site: SiteRow, statement: Statement, sealed: Sealed) -> FromCoordinator:
        task = self._task_of(site, statement.about)
        if task is None:
            raise EnvelopeRefused(f"a reply of {site.name} to a task that it was not given")
        if task.reply_digest is not None:
            return self._again(site, task, sealed)
        if statement.contract != contract_of(task):
            raise EnvelopeRefused(f"a reply of {site.name} under another contract than the task's")
        if not task.is_open or task.deadline_ms <= self.now_ms():
            return self._acknowledged(site, task, sealed.digest, LATE)
        _head_in(statement)
        sizes = announced(statement.content.get("records"))
        self.transfers.require(site.node_id, sizes)
        self._witness(site, statement, sealed, sum(sizes.values()))
        answer = self._stored(site, task, sealed)
        self.heads.note(site.name, _head_in(statement), sealed.digest, statement.issued)
        return answer

    def _stored(self, site: SiteRow, task: Task, sealed: Sealed) -> FromCoordinator:
        match self.tasks.answer(task.id, site.node_id, sealed, self.now_ms()):
            case Reception.stored | Reception.again:
                self.bell.ring()
                return self._acknowledged(site, task, sealed.digest, STORED)
            case Reception.late:
                return self._acknowledged(site, task, sealed.digest, LATE)
            case _:
                raise EnvelopeReplayed(f"{site.name} has answered task {task.id} otherwise")

    def _again(self, site: SiteRow, task: Task, sealed: Sealed) -> FromCoordinator:
        if task.reply_digest != sealed.digest:
            raise EnvelopeReplayed(f"{site.name} has answered task {task.id} otherwise")
        return self._acknowledged(site, task, sealed.digest, STORED)

    def _witness(self, site: SiteRow, statement: Statement, sealed: Sealed, size_bytes: int) -> None:
        self.log.note(
            "reply.received",
            task=statement.about,
            contract=statement.contract,
            site=site.name,
            digest=sealed.digest,
            bytes=len(sealed.body) + size_bytes,
        )

    def _refused(self, site: SiteRow, sealed: Sealed, error: ConsiliumError) -> FromCoordinator:
        """Note it; a task of this site that it claims to answer will get no other answer."""
        task = self._task_of(site, _claimed(sealed))
        contract = contract_of(task) if task else ""
        facts: Mapping[str, Any] = {"task": task.id, "contract": contract} if task and contract else {}
        self.log.refuse("reply.refused", site.name, error.code, site=site.name, **facts)
        if task is not None and self.tasks.cancel([task.id], error.code):
            self.bell.ring()
        return FromCoordinator(cancel=Cancel(task=_claimed(sealed), reason=error.code))

    def _acknowledged(self, site: SiteRow, task: Task, digest: str, outcome: str) -> FromCoordinator:
        sealed = self.speaker.acknowledgement(site.name, task.id, contract_of(task), digest, outcome)
        return FromCoordinator(ack=enveloped(sealed))

    def _task_of(self, site: SiteRow, task_id: str) -> Task | None:
        found = self.tasks.of_ids([task_id]) if task_id else []
        return found[0] if found and found[0].node_id == site.node_id else None


def contract_of(task: Task) -> str:
    """The contract that a task was signed under; empty once the task's body is gone."""
    return str(json.loads(task.envelope.body)["contract"]) if task.envelope.body else ""


def _head_in(statement: Statement) -> str:
    """Where the sender's audit log ended when a statement was made; empty where there is none."""
    head = statement.content.get("audit_head", "")
    if not isinstance(head, str) or (head and Head.of(head) is None):
        raise EnvelopeRefused(f"what {statement.sender} sent as the head of its audit log is none")
    return head


def _claimed(sealed: Sealed) -> str:
    """The task that a reply says it answers, whoever wrote it; empty if that cannot be read."""
    try:
        about = json.loads(sealed.body)["about"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return about if isinstance(about, str) and about.isascii() and len(about) <= 64 else ""
