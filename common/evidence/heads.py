"""Heads of the other side's log, kept in one's own: what neither side can then deny.

Tasks and replies carry the head of their sender's log; who receives one writes it down when it changed. A log
that was rewritten, or cut, no longer holds an entry that the other side has the digest of.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from common.audit import AuditLog
from common.errors import EnvelopeRefused
from common.evidence.entry import Entry, Fact, Head
from common.evidence.events import PEER_HEAD, PEER_ROLLED_BACK


@dataclass(frozen=True, slots=True)
class Note:
    """A head of somebody else's log.

    Attributes:
        number: Of the entry that holds the note.
        peer: Whose log: a site's name, or ``coordinator``.
        head: Its head.
        issued: When the message that told it was signed, in ms since 1970.
        rolled_back: It could not follow from the head before.
    """

    number: int
    peer: str
    head: Head
    issued: int = 0
    rolled_back: bool = False

    @staticmethod
    def of(entry: Entry) -> Note | None:
        """The note that an entry is; None if it is none."""
        if entry.event not in (PEER_HEAD, PEER_ROLLED_BACK):
            return None
        peer, issued = str(entry.facts.get("peer")), entry.facts.get("issued")
        head = Head.of(str(entry.facts.get("head"))) or Head()  # of a log that was emptied
        when = issued if isinstance(issued, int) else 0
        return Note(entry.number, peer, head, when, entry.event == PEER_ROLLED_BACK)


def notes_in(entries: Iterable[Entry]) -> tuple[Note, ...]:
    """All notes of a log, in order."""
    return tuple(note for entry in entries if (note := Note.of(entry)) is not None)


class PeerHeads:
    """Heads that others' messages carry, noted in one's own log; several threads may use it.

    Args:
        log: One's own log; it is read once.

    Raises:
        AuditBroken: It is not what was written.
    """

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._last = {note.peer: note for note in notes_in(log.entries())}

    def note(self, peer: str, head: str, statement: str, issued: int) -> bool:
        """Whether the other side's log can still be the one it was before.

        A message that was signed before the last one noted may come late: it is noted, not judged, unless it
        gives a number another digest.

        Args:
            peer: Whose log: a site's name, or ``coordinator``.
            head: As ``number:digest``; "" from a log without entries.
            statement: Digest of the signed statement that carried it; who keeps that can prove the note.
            issued: When that was signed, in ms since 1970.

        Raises:
            EnvelopeRefused: That is no head.
            AuditBroken, DiskFull, OutputUnwritable: It cannot be written down.
        """
        told = Head.of(head) if head else Head()
        if told is None:
            raise EnvelopeRefused(f"what {peer} sent as the head of its audit log is none")
        with self._lock:
            last = self._last.get(peer)
            if told == (last.head if last else Head()):
                return True
            follows = last is None or _follows(told, issued, last)
            self._write(peer, told, statement, issued, None if follows else last)
            if last is None or not follows or issued >= last.issued:
                self._last[peer] = Note(0, peer, told, issued, not follows)
        return follows

    def _write(self, peer: str, head: Head, statement: str, issued: int, before: Note | None) -> None:
        facts: dict[str, Fact] = {"peer": peer, "statement": statement, "issued": issued}
        if before is None:
            self._log.append(PEER_HEAD, **facts, head=str(head))
        else:
            self._log.append(PEER_ROLLED_BACK, **facts, head=str(head), before=str(before.head))


def _follows(told: Head, issued: int, last: Note) -> bool:
    if told.number == last.head.number:
        return False  # the same number, another digest
    return told.number > last.head.number or issued < last.issued
