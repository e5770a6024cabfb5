"""A finished task's reply as it leaves the site: signed, its weights beside it."""

from __future__ import annotations

from uuid import uuid4

from flwr.app import RecordDict

from client.link.handler import OfferedTask
from client.link.identity import SiteIdentity
from common.link.blobs import Parts
from common.link.envelope import COORDINATOR, Sealed, Statement, seal
from common.link.records import described


def sealed_reply(
    identity: SiteIdentity, task: OfferedTask, content: RecordDict, now_ms: int, audit_head: str = ""
) -> tuple[Sealed, dict[str, Parts]]:
    """The signed reply to a task, and the weights that it names by digest; both go to the outbox.

    Args:
        identity: Who signs.
        task: What it answers.
        content: The records that leave the site.
        now_ms: Milliseconds since 1970.
        audit_head: Head of the site's audit log, which the coordinator keeps: a witness against rewriting.
    """
    description, parts = described(content)
    statement = Statement(
        kind="reply",
        federation=identity.federation,
        sender=identity.name,
        recipient=COORDINATOR,
        id=uuid4().hex,
        about=task.id,
        issued=now_ms,
        contract=task.contract_digest,
        content={"records": description, "audit_head": audit_head},
    )
    return seal(statement, identity.key), parts
