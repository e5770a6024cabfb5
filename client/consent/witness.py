"""The site's audit log as witness of decisions: each one is told there too, with its number and digest."""

from __future__ import annotations

from collections.abc import Sequence

from common.audit import AuditLog
from common.chain import Entry
from common.errors import AuditBroken

FINGERPRINT = "fingerprint"
"""Which state of the cohort was approved: for the register alone."""

_DECISION = "decision"


class Witness:
    """The audit log, asked about the decisions.

    Args:
        log: The site's audit log.
    """

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._agreed = ""

    def compare(self, entries: Sequence[Entry]) -> None:
        """Let decisions pass that hold all which the log was told; as long as they stay so, it is not read.

        Raises:
            AuditBroken: One is missing, or the log is not what was written.
        """
        head = entries[-1].head if entries else ""
        if head and head == self._agreed:
            return
        missing = self._told() - {entry.head for entry in entries}
        if missing:
            first = min(missing, key=lambda told: int(told.partition(":")[0]))
            raise AuditBroken(
                f"the audit log knows decision {first.partition(':')[0]} about a study, which the register "
                "of studies does not hold: it was put back from an older copy"
            )
        self._agreed = head

    def tell_last(self, entries: Sequence[Entry]) -> None:
        """Have the last decision in the log; it is on the disk when this returns.

        Raises:
            AuditBroken: The log is not what was written; nothing is added to it.
            DiskFull, OutputUnwritable: It cannot be written.
        """
        if not entries or entries[-1].head in self._told():
            return
        last = entries[-1]
        told = {name: fact for name, fact in last.facts.items() if name != FINGERPRINT}
        self._log.append(last.event, **{**told, _DECISION: last.head})
        self._agreed = last.head

    def _told(self) -> set[str]:
        return {str(entry.facts[_DECISION]) for entry in self._log.entries() if _DECISION in entry.facts}
