"""An append-only log of what was done with data: a :class:`common.chain.Chain` in ``audit.jsonl``.

Facts are counts, codes and names of cohorts or sites, never a value out of a patient's data.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from common.chain import GENESIS, Chain, Clock, Entry, Fact, utc_now
from common.errors import AuditBroken

__all__ = ["GENESIS", "AuditLog", "Entry", "Fact"]


class AuditLog:
    """The log in one file; several processes may append to it.

    Args:
        path: The file; its folder exists.
        now: The clock.
    """

    def __init__(self, path: Path, now: Clock = utc_now) -> None:
        self.path = path
        self._chain = Chain(path, AuditBroken, now)

    def append(self, event: str, **facts: Fact) -> Entry:
        """The entry that now ends the log; it is on the disk when this returns.

        Raises:
            AuditBroken: The log is not what was written; nothing is added to it.
            DiskFull, OutputUnwritable: It cannot be written.
        """
        with self._chain.opened() as log:
            return log.append(event, facts)

    def entries(self) -> Iterator[Entry]:
        """All entries, each checked against the one before it, the last against the head.

        Raises:
            AuditBroken: Names the first entry that does not fit.
        """
        yield from self._chain.entries()
