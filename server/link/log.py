"""The coordinator's audit log as the link writes it: every refusal is in it, and nobody can fill it up."""

from __future__ import annotations

from common.audit import AuditLog, Fact
from server.link.rates import RateLimit

NOTED_EACH, NOTED_TOGETHER = 20, 200
"""Refusals of one caller for one reason, and of all, that are noted in a minute; the rest is like them."""


class LinkLog:
    """Writes the audit log; threads may share it.

    Args:
        audit: The log.
    """

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._refusals = RateLimit(NOTED_EACH, NOTED_TOGETHER)

    @property
    def head(self) -> str:
        """Where the log ends, ``number:digest``.

        Raises:
            AuditBroken: It cannot be read.
        """
        return self._audit.head

    def note(self, event: str, **facts: Fact) -> None:
        """Write an entry; it is on the disk when this returns.

        Raises:
            AuditBroken, DiskFull, OutputUnwritable: It cannot be written.
        """
        self._audit.append(event, **facts)

    def refuse(self, event: str, who: str, code: str, **facts: Fact) -> None:
        """Write an entry on a refusal, unless too many like it were written just now.

        Raises:
            AuditBroken, DiskFull, OutputUnwritable: It cannot be written.
        """
        if self._refusals.take(f"{event} {code} {who}"):
            self.note(event, code=code, **facts)
