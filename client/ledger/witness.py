"""The site's audit log as witness: each entry of a ledger is told there too, with its number and digest.

An old copy of the ledger that is put back lacks entries which the log has. An old copy of the log lacks
entries which the ledger has: after a crash that can be the last one, and never more.
"""

from __future__ import annotations

from dataclasses import dataclass

from client.ledger.book import Book
from common.audit import AuditLog
from common.chain import Entry, Fact
from common.errors import LedgerBroken, LedgerRolledBack

PREFIX = "ledger."
_OWN = ("ledger", "number", "digest")


@dataclass(frozen=True, slots=True)
class Heard:
    """What became of comparing a ledger with the log.

    Attributes:
        told: Entries of the ledger that the log was told, each the same.
        untold: The last entry, where the log has yet to be told it.
    """

    told: int
    untold: Entry | None


class Witness:
    """The audit log, asked about one ledger.

    Args:
        log: The site's audit log.
        ledger: The ledger's name.
    """

    def __init__(self, log: AuditLog, ledger: str) -> None:
        self._log = log
        self._ledger = ledger

    def testimonies(self) -> tuple[Entry, ...]:
        """The ledger's entries as the log was told them; what they followed from it was not told.

        Raises:
            AuditBroken: The log is not what was written.
        """
        return tuple(
            _told(entry)
            for entry in self._log.entries()
            if entry.event.startswith(PREFIX) and entry.facts.get("ledger") == self._ledger
        )

    def tell(self, entry: Entry) -> None:
        """Put an entry of the ledger in the log; it is on the disk when this returns.

        Raises:
            AuditBroken: The log is not what was written; nothing is added to it.
            DiskFull, OutputUnwritable: It cannot be written.
        """
        own: dict[str, Fact] = {"ledger": self._ledger, "number": entry.number, "digest": entry.digest}
        self._log.append(PREFIX + entry.event, **{**entry.facts, **own})

    def compare(self, book: Book) -> Heard:
        """What the log was told of the ledger.

        Raises:
            AuditBroken: The log is not what was written.
            LedgerRolledBack: The ledger lacks an entry that was told.
            LedgerBroken: The log lacks entries that were told: it is no longer the one that went with it.
        """
        heads = {each.head: each.number for each in self.testimonies()}
        lost = next((number for head, number in heads.items() if head not in book.heads), None)
        if lost is not None:
            raise LedgerRolledBack(f"the audit log knows an entry {lost} that {book.name} does not hold")
        known = max((entry.number for entry in book.entries if entry.head in heads), default=0)
        ahead = len(book.entries) - known
        if ahead > 1:
            raise LedgerBroken(
                f"{book.name} holds {ahead} entries that the audit log was never told; "
                "one of the two was put back from an older copy"
            )
        told = sum(entry.head in heads for entry in book.entries)
        return Heard(told, book.entries[-1] if ahead else None)


def ledgers_told(log: AuditLog) -> set[str]:
    """Names of the ledgers that an audit log knows.

    Raises:
        AuditBroken: The log is not what was written.
    """
    return {str(entry.facts.get("ledger")) for entry in log.entries() if entry.event.startswith(PREFIX)}


def _told(entry: Entry) -> Entry:
    number, digest = entry.facts.get("number"), entry.facts.get("digest")
    return Entry(
        number=number if isinstance(number, int) else 0,
        time=entry.time,
        event=entry.event.removeprefix(PREFIX),
        facts={name: fact for name, fact in entry.facts.items() if name not in _OWN},
        previous="",
        digest=str(digest),
    )
