"""A finished task's reply as it leaves the site: signed, its weights beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from client.link.handler import OfferedTask
from client.link.identity import SiteIdentity
from common.link.envelope import COORDINATOR, Sealed, Statement, seal


def sealed_reply(
    identity: SiteIdentity,
    task: OfferedTask,
    records: Mapping[str, Any],
    now_ms: int,
    audit_head: str = "",
) -> Sealed:
    """The signed reply to a task, which goes to the outbox with the weights that it names.

    Args:
        identity: Who signs.
        task: What it answers.
        records: What leaves the site, as :func:`common.link.records.described` describes it.
        now_ms: Milliseconds since 1970.
        audit_head: Head of the site's audit log, which the coordinator keeps: a witness against rewriting.
    """
    statement = Statement(
        kind="reply",
        federation=identity.federation,
        sender=identity.name,
        recipient=COORDINATOR,
        id=uuid4().hex,
        about=task.id,
        issued=now_ms,
        contract=task.contract_digest,
        content={"records": records, "audit_head": audit_head},
    )
    return seal(statement, identity.key)
