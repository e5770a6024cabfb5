"""An append-only log of what was done with data: a :class:`common.chain.Chain` in ``audit.jsonl``.

Facts are counts, codes and names of cohorts or sites, never a value out of a patient's data; the table of all
events is :mod:`common.evidence.events`. At a limit the file is closed and the log goes on in a new one
(:mod:`common.evidence.rotation`).

What is checked when:

- An instance that adds its first entry checks the file that is written in full, and every closed one by its
  SHA-256. So does any that finds that somebody else wrote in between.
- After that, it only asks whether file and head are as it left them itself. Each further entry costs the
  same, however long the log is.
- Reading, and ``consilium audit verify``, check everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from io import FileIO
from pathlib import Path

from common.chain import GENESIS, Chain, Clock, Entry, Fact, Facts, Head, utc_now
from common.errors import AuditBroken
from common.evidence.events import REPAIRED, objection
from common.evidence.mark import Mark
from common.evidence.rotation import ClosedFiles, Limits, closing

__all__ = ["GENESIS", "AuditLog", "Entry", "Fact", "Head", "Limits"]

LIMITS = Limits()


class AuditLog:
    """The log in one file and those it was closed in; several threads and processes may append to it.

    Args:
        path: The file that is written; its folder exists.
        now: The clock.
        limits: When it is closed.
        strict: Refuse events that the table does not have. A defect must not keep a hospital from writing
            down what was done, so only tests ask for this; ``consilium audit verify`` names such entries.
    """

    def __init__(
        self, path: Path, now: Clock = utc_now, *, limits: Limits = LIMITS, strict: bool = False
    ) -> None:
        self.path = path
        self._limits = limits
        self._strict = strict
        self._closed = ClosedFiles(path)
        self._chain = Chain(path, AuditBroken, now, before=self._closed.before, repaired=_repaired)
        self._mark: Mark | None = None

    @property
    def head(self) -> str:
        """Number and digest of the last entry, as ``number:digest``, for others to keep; "" without one.

        Raises:
            AuditBroken: It cannot be read.
        """
        head = self._chain.head()
        return str(head) if head.number else ""

    def append(self, event: str, **facts: Fact) -> Entry:
        """The entry that now ends the log; it is on the disk when this returns.

        Raises:
            AuditBroken: The log is not what was written; nothing is added to it.
            DiskFull, OutputUnwritable: It cannot be written.
            ValueError: The log is strict, and the table has no such event.
        """
        wrong = objection(event, facts) if self._strict else None
        if wrong:
            raise ValueError(wrong)
        with ExitStack() as stack:
            log = stack.enter_context(self._chain.opened(self._known))
            mark, self._mark = self._mark, None
            count = mark.entries if mark and not log.checked else len(log.entries)
            if log.entries and self._limits.reached(count, log.size_bytes):
                log, count = stack.enter_context(closing(log)), 1
            entry = log.append(event, facts)
            self._mark = Mark.on(log.file, entry, count + 1)
        return entry

    def entries(self) -> Iterator[Entry]:
        """All entries, each checked against the one before it, the last against the head.

        Raises:
            AuditBroken: Names the first entry that does not fit.
        """
        with self._chain.reading() as current:
            found = (*self._closed.entries(current[0] if current else None), *current)
        yield from found

    def _known(self, file: FileIO) -> Entry | None:
        """The last entry, where the file is as it was left; None where it must be checked.

        A file is also checked once more before it is closed.
        """
        mark = self._mark
        if mark is None or not mark.holds(file) or self._limits.reached(mark.entries, mark.size_bytes):
            return None
        return mark.last


def _repaired(torn: bytes) -> tuple[str, Facts]:
    """What tells of a last line that a crash left without its end."""
    return REPAIRED, {"bytes": len(torn), "sha256": sha256(torn).hexdigest()}
