"""What the link asks of whoever works behind it, and what it hands on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from flwr.app import RecordDict

from common.errors import ConsiliumError
from common.link.envelope import Sealed, Statement

LinkState = Literal["disconnected", "connecting", "connected", "refused"]


@dataclass(frozen=True, slots=True)
class OfferedTask:
    """A task that the coordinator signed for this site, whole and not seen before.

    Attributes:
        id: What its reply is about.
        message_type: ``train``, ``evaluate`` or ``query``.
        contract_digest: The contract it claims to be part of; "" for none.
        statement: All that was signed.
        content: The records, weights included.
        digest: Of the statement as it was signed.
    """

    id: str
    message_type: str
    contract_digest: str
    statement: Statement
    content: RecordDict
    digest: str


class Handler(Protocol):
    """Whoever works behind the link. It is called from the link's threads and returns quickly."""

    def offer(self, task: OfferedTask) -> None:
        """Take a task; its reply goes to the outbox when it is done.

        It may come once more after this process was restarted before its reply was in the outbox.
        """

    def cancel(self, task_id: str, reason: str) -> None:
        """Give up a task, which may not have been handed on yet; nobody waits for its reply any more."""

    def contract(self, sealed: Sealed) -> None:
        """Take a study's contract as it arrived; nobody has looked at its signature yet."""

    def state(self, state: LinkState, error: ConsiliumError | None) -> None:
        """Take note of how the link stands, and of what is in its way."""

    def acknowledged(self, task: str, digest: str) -> None:
        """The coordinator has the reply to a task; ``digest`` is that of what was signed."""

    def refused(self, error: ConsiliumError, about: str) -> None:
        """Take note that something which arrived was not handed on.

        Args:
            error: Why.
            about: The task's id where it is known, else the kind of message.
        """
