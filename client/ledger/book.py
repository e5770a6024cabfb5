"""A ledger's entries taken together: what was reserved, what became of it, and what speaks against going on.

Pure: entries in, a book out. Invariant: spending is never less than what was released, since a reservation
counts whole until it is settled, is settled once at most, and nothing is sent before that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from client.ledger.records import (
    Accepted,
    Carried,
    Former,
    Record,
    Reserved,
    Settled,
    Stopped,
    record_in,
    version_of,
)
from client.ledger.task import Purpose, Reservation, Task
from common.chain import GENESIS, Entry
from common.errors import LedgerBroken, LedgerRolledBack
from common.private.event import Event

NO_ENTRY = f"0:{GENESIS}"
"""The head of a ledger without entries."""


@dataclass(frozen=True, slots=True)
class Line:
    """One reservation as it stands.

    Attributes:
        record: What was reserved.
        time: When.
        closed_at: Number of the entry after which it cannot be used; 0 while it is open.
        settled: What was done with it; None if nobody said so.
    """

    record: Reserved
    time: str
    closed_at: int = 0
    settled: Settled | None = None

    @property
    def event(self) -> Event:
        """What counts of it: the steps done where it was settled, else all of it."""
        whole = self.record.event
        return whole if self.settled is None else replace(whole, steps=self.settled.steps)

    @property
    def is_open(self) -> bool:
        """Whether it can still be used."""
        return not self.closed_at

    @property
    def clip_norm(self) -> float | None:
        """To what the clip norm was adapted by then."""
        if isinstance(self.record, Carried):
            return self.record.clip_norm
        return self.settled.clip_norm if self.settled else None


@dataclass(frozen=True, slots=True)
class Accepting:
    """That a person decided how to go on."""

    time: str
    record: Accepted


@dataclass(frozen=True, slots=True)
class Book:
    """A whole ledger.

    Attributes:
        name: What it is called in errors.
        entries: Its entries, in order.
        lines: Every reservation, in order.
        heads: Of its own entries, and of those that were set aside.
        stops: Heads that a coordinator remembers and that are none of its own.
        decisions: Those of people, in order.
    """

    name: str
    entries: tuple[Entry, ...]
    lines: tuple[Line, ...]
    heads: frozenset[str]
    stops: tuple[str, ...]
    decisions: tuple[Accepting, ...]

    @property
    def head(self) -> str:
        """Number and digest of the last entry, as ``number:digest``."""
        return self.entries[-1].head if self.entries else NO_ENTRY

    @property
    def events(self) -> tuple[Event, ...]:
        """All that counts, ever."""
        return tuple(line.event for line in self.lines)

    @property
    def versions(self) -> tuple[str, ...]:
        """Each Consilium that wrote in it, in order of appearance."""
        return tuple(dict.fromkeys(version_of(entry) for entry in self.entries))

    def of_study(self, study_digest: str, purpose: Purpose | None = None) -> list[Line]:
        """The reservations of one study, for one purpose or both."""
        return [
            line
            for line in self.lines
            if line.record.study_digest == study_digest and purpose in (None, line.record.purpose)
        ]

    def last_clip_norm(self, study_digest: str) -> float | None:
        """What the study adapted its clip norm to last."""
        known = [line for line in self.of_study(study_digest) if line.clip_norm is not None]
        return max(known, key=lambda line: line.closed_at).clip_norm if known else None

    def reusable(self, task: Task, event: Event, delta: float) -> Reservation | None:
        """The open reservation of the very same task, if it is for no less than ``event``."""
        for line in self.lines:
            reserved = line.record
            same = line.is_open and (reserved.task, reserved.delta) == (task, delta)
            if same and replace(reserved.event, steps=event.steps) == event and event.steps <= reserved.steps:
                return reserved.reservation(resumed=True)
        return None

    def line(self, reservation: str) -> Line | None:
        """A reservation by its id."""
        return next((line for line in self.lines if line.record.id == reservation), None)

    def require_running(self) -> None:
        """Let a ledger pass that no coordinator knows more of.

        Raises:
            LedgerRolledBack: One does.
        """
        if self.stops:
            number = self.stops[-1].partition(":")[0]
            raise LedgerRolledBack(
                f"{self.name}: a coordinator remembers an entry {number} that is not there"
            )


def read_book(name: str, entries: Sequence[Entry]) -> Book:
    """The book that the entries make.

    Args:
        name: What to call the ledger in errors.
        entries: A whole chain.

    Raises:
        LedgerBroken: An entry says what it cannot say there.
    """
    draft = _Draft(name)
    for entry in entries:
        draft.take(record_in(entry, name), entry)
    heads = frozenset({NO_ENTRY, *(entry.head for entry in entries), *draft.former})
    lines = tuple(draft.lines.values())
    return Book(name, tuple(entries), lines, heads, tuple(draft.stops), tuple(draft.decisions))


class _Draft:
    """A book of which not all entries were read yet."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[str, Line] = {}
        self.former: list[str] = []
        self.stops: list[str] = []
        self.decisions: list[Accepting] = []

    def take(self, record: Record, entry: Entry) -> None:
        """Take one more entry in.

        Raises:
            LedgerBroken: It says what it cannot say after those before it.
        """
        match record:
            case Reserved():
                self._reserve(record, entry)
            case Settled():
                self._settle(record, entry)
            case Stopped():
                self.stops.append(record.head)
            case Former():
                self.former.append(record.head)
            case Accepted():
                self.decisions.append(Accepting(entry.time, record))

    def _reserve(self, record: Reserved, entry: Entry) -> None:
        if record.id in self.lines:
            raise LedgerBroken(f"{self.name}: entry {entry.number} reserves what was reserved before")
        closed_at = entry.number if isinstance(record, Carried) else 0
        time = record.reserved_at if isinstance(record, Carried) else ""
        self.lines[record.id] = Line(record, time or entry.time, closed_at)

    def _settle(self, record: Settled, entry: Entry) -> None:
        line = self.lines.get(record.id)
        if line is None or not line.is_open or record.steps > line.record.steps:
            raise LedgerBroken(f"{self.name}: entry {entry.number} settles what was not reserved")
        self.lines[record.id] = replace(line, closed_at=entry.number, settled=record)
