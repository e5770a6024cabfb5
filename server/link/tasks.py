"""What sites were asked, and what they answered.

A task's life: ``queued`` -> ``offered`` -> ``taken`` -> ``answered``; from any of the first three also
``cancelled`` or ``expired``. Invariants, whatever threads do at once and wherever the process is killed:

- What a method returned is on the disk; what raised changed nothing.
- An ended task stays ended as it did, and its first answer is its only one.
- Doing the same again changes nothing and says the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, insert, select, update

from common.link.envelope import Sealed
from server.link.database import Database
from server.link.database import task as tasks

State = Literal["queued", "offered", "taken", "answered", "cancelled", "expired"]
OPEN: tuple[State, ...] = ("queued", "offered", "taken")


class Reception(StrEnum):
    """What became of an answer: the first two are acknowledged, the others are not."""

    stored = "stored"
    again = "again"  # it is the one that is stored
    differs = "differs"  # another one is stored
    late = "late"  # the task was cancelled, or had expired
    unknown = "unknown"  # this site was not given such a task


@dataclass(frozen=True, slots=True)
class Task:
    """What a site is asked.

    Attributes:
        id: Its name, unique for ever.
        node_id: Whom.
        message_type: Flower's.
        group: Flower's group id: the round.
        deadline_ms: When it expires, since the epoch.
        envelope: The signed task; without its body once the answer was collected.
        state: How far it is.
        reason: Why it was cancelled, a code.
        reply: The signed answer; None until there is one, and again once it was collected.
        reply_digest: Of the answer's body; stays.
    """

    id: str
    node_id: int
    message_type: str
    group: str
    deadline_ms: int
    envelope: Sealed
    state: State = "queued"
    reason: str = ""
    reply: Sealed | None = None
    reply_digest: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether an answer is still waited for."""
        return self.state in OPEN


class Tasks:
    """The tasks in one database; threads may share it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def queue(self, new: Iterable[Task]) -> None:
        """Remember tasks, to be offered in this order; one that is there already stays as it is.

        Raises:
            ValueError: A task of the same id holds something else; none is remembered.
        """
        with self._database.writing() as connection:
            for each in new:
                known = connection.scalar(select(tasks.c.digest).where(tasks.c.id == each.id))
                if known is None:
                    connection.execute(insert(tasks).values(_task_values(each)))
                elif known != each.envelope.digest:
                    raise ValueError("two tasks have the same id")

    def open_tasks(self, node_id: int, now_ms: int) -> list[Task]:
        """What a site is still to answer, in the order in which it was queued."""
        query = select(tasks).where(
            tasks.c.node_id == node_id, tasks.c.state.in_(OPEN), tasks.c.deadline_ms > now_ms
        )
        with self._database.reading() as connection:
            return [_task(row) for row in connection.execute(query.order_by(tasks.c.number))]

    def of_ids(self, ids: Collection[str]) -> list[Task]:
        """Those of the tasks that there are, in the order in which they were queued."""
        query = select(tasks).where(tasks.c.id.in_(ids)).order_by(tasks.c.number)
        with self._database.reading() as connection:
            return [_task(row) for row in connection.execute(query)]

    def of_group(self, group: str) -> list[Task]:
        """Those of a group that are open, or answered and not collected, in the order they were queued in."""
        query = select(tasks).where(
            tasks.c.group_id == group,
            tasks.c.state.in_((*OPEN, "answered")),
            tasks.c.collected.is_(False),
        )
        with self._database.reading() as connection:
            return [_task(row) for row in connection.execute(query.order_by(tasks.c.number))]

    def offered(self, task_id: str) -> bool:
        """Whether the task is open; it counts as offered now, if it was queued."""
        return self._advance(task_id, None, ("queued",), "offered")

    def taken(self, task_id: str, node_id: int) -> bool:
        """Whether the task is open, and this site's; it counts as taken now."""
        return self._advance(task_id, node_id, ("queued", "offered"), "taken")

    def answer(self, task_id: str, node_id: int, reply: Sealed, now_ms: int) -> Reception:
        """What becomes of an answer that was verified to come from this site.

        Args:
            task_id: What it answers.
            node_id: Whose it is.
            reply: The answer.
            now_ms: The time, since the epoch.
        """
        with self._database.writing() as connection:
            mine = (tasks.c.id == task_id) & (tasks.c.node_id == node_id)
            found = connection.execute(select(tasks).where(mine).with_for_update()).first()
            if found is None:
                return Reception.unknown
            if found.state == "answered":
                return Reception.again if found.reply_digest == reply.digest else Reception.differs
            if found.state not in OPEN:
                return Reception.late
            if found.deadline_ms <= now_ms:
                connection.execute(update(tasks).where(mine).values(state="expired"))
                return Reception.late
            connection.execute(update(tasks).where(mine).values(state="answered", **_reply_values(reply)))
            return Reception.stored

    def cancel(self, ids: Collection[str], reason: str) -> list[Task]:
        """Those of the tasks that were open, now cancelled, in the order in which they were queued."""
        chosen = tasks.c.id.in_(ids) & tasks.c.state.in_(OPEN)
        with self._database.writing() as connection:
            found = connection.scalars(select(tasks.c.id).where(chosen)).all()
            _cancel(connection, tasks.c.id.in_(found), reason)
        return self.of_ids(found)

    def expire(self, now_ms: int) -> list[Task]:
        """The open tasks whose time was over, now expired, in the order in which they were queued."""
        chosen = tasks.c.state.in_(OPEN) & (tasks.c.deadline_ms <= now_ms)
        with self._database.reading() as connection:  # most often there are none, and nobody has to wait
            if connection.scalar(select(tasks.c.id).where(chosen).limit(1)) is None:
                return []
        with self._database.writing() as connection:
            found = connection.scalars(select(tasks.c.id).where(chosen)).all()
            connection.execute(update(tasks).where(tasks.c.id.in_(found)).values(state="expired"))
        return self.of_ids(found)

    def ended(self, ids: Collection[str]) -> list[Task]:
        """Those of the tasks that ended and were not collected, in the order in which they were queued."""
        query = select(tasks).where(
            tasks.c.id.in_(ids), tasks.c.state.not_in(OPEN), tasks.c.collected.is_(False)
        )
        with self._database.reading() as connection:
            return [_task(row) for row in connection.execute(query.order_by(tasks.c.number))]

    def collect(self, ids: Collection[str]) -> None:
        """Let go of the bodies of tasks that ended; how they ended stays known."""
        with self._database.writing() as connection:
            connection.execute(
                update(tasks)
                .where(tasks.c.id.in_(ids), tasks.c.state.not_in(OPEN))
                .values(collected=True, body=b"", signature=b"", reply_body=None, reply_signature=None)
            )

    def _advance(self, task_id: str, node_id: int | None, before: Sequence[State], after: State) -> bool:
        chosen = tasks.c.id == task_id
        if node_id is not None:
            chosen &= tasks.c.node_id == node_id
        with self._database.writing() as connection:
            connection.execute(update(tasks).where(chosen, tasks.c.state.in_(before)).values(state=after))
            return connection.scalar(select(tasks.c.state).where(chosen)) in OPEN


def cancel_all(connection: Connection, node_id: int, reason: str) -> int:
    """How many open tasks a site had; they are cancelled now, in the transaction of ``connection``."""
    return _cancel(connection, tasks.c.node_id == node_id, reason)


def _cancel(connection: Connection, chosen: ColumnElement[bool], reason: str) -> int:
    values = {"state": "cancelled", "reason": reason}
    return int(
        connection.execute(update(tasks).where(chosen, tasks.c.state.in_(OPEN)).values(values)).rowcount
    )


def _task(row: Row[Any]) -> Task:
    reply = None if row.reply_body is None else Sealed(row.reply_body, row.reply_signature)
    return Task(
        row.id,
        row.node_id,
        row.message_type,
        row.group_id,
        row.deadline_ms,
        Sealed(row.body, row.signature),
        row.state,
        row.reason,
        reply,
        row.reply_digest,
    )


def _task_values(task: Task) -> dict[str, Any]:
    return {
        "id": task.id,
        "node_id": task.node_id,
        "message_type": task.message_type,
        "group_id": task.group,
        "deadline_ms": task.deadline_ms,
        "digest": task.envelope.digest,
        "body": task.envelope.body,
        "signature": task.envelope.signature,
        "state": "queued",
    }


def _reply_values(reply: Sealed) -> dict[str, Any]:
    return {"reply_digest": reply.digest, "reply_body": reply.body, "reply_signature": reply.signature}
