"""Whether one log is what was written, found out without the machine that wrote it.

A log by itself cannot prove where it ended: that takes its head, a head that somebody kept, or the log of the
other side, which noted heads of this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from common.evidence.entry import Entry, Head, head_in
from common.evidence.events import (
    CONTINUED,
    COORDINATOR_CREATED,
    SITE_CREATED,
    SITE_ENROLLED,
    objection,
)
from common.evidence.heads import Note
from common.evidence.mention import Made, Tested
from common.evidence.reading import Fault, entries_of, first_entry
from common.evidence.source import Source

COORDINATOR = "coordinator"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of checking one log.

    Attributes:
        name: What to call it.
        owner: Whose it is: ``coordinator`` or a site's name; "" if it does not say.
        files: Names of its files.
        before: What its first entry follows from.
        places: Of all entries up to the first bad one, in order.
        times: Of the first and the last of them; none if there is none.
        first_bad: The first entry that is not what was written.
        ended_by: What says that it ends here, ``audit.head`` or ``--head``; "" if nothing does.
        notes: Heads of other logs that it holds.
        made: Models that studies ended with.
        tested: Models that a site told its results of.
        remarks: What a reader should know, and what does not break the log.
    """

    name: str
    owner: str
    files: tuple[str, ...]
    before: Head
    places: tuple[Head, ...]
    times: tuple[str, ...]
    first_bad: Fault | None
    ended_by: str
    notes: tuple[Note, ...]
    made: tuple[Made, ...]
    tested: tuple[Tested, ...]
    remarks: tuple[str, ...]

    @property
    def entries(self) -> int:
        """How many entries are what was written."""
        return len(self.places)

    @property
    def head(self) -> Head:
        """The last of them."""
        return self.places[-1] if self.places else self.before

    def at(self, number: int) -> Head | None:
        """The entry of that number; None if the log does not hold it."""
        index = number - self.before.number - 1
        return self.places[index] if 0 <= index < len(self.places) else None


def examine(name: str, source: Source, heads: Sequence[Head] = (), *, is_owner: bool = False) -> Verdict:
    """What becomes of checking one log.

    Args:
        name: What to call it.
        source: Its files.
        heads: Heads that somebody kept.
        is_owner: The name is also that of who wrote it.
    """
    found = _Found(name if is_owner else "")
    first_bad, ended_by, before = None, "", Head()
    try:
        before = _beginning(source, heads)
        for entry in entries_of(source.parts, before, source.form):
            found.take(entry)
        ended_by = _ending(source, [before, *found.places], heads)
    except Fault as fault:
        first_bad = fault
    return Verdict(
        name=name,
        owner=found.owner,
        files=tuple(part.name for part in source.parts),
        before=before,
        places=tuple(found.places),
        times=tuple(found.times),
        first_bad=first_bad,
        ended_by=ended_by,
        notes=tuple(found.notes),
        made=tuple(found.made),
        tested=tuple(found.tested),
        remarks=(*_remarks(source, ended_by, first_bad), *found.remarks()),
    )


class _Found:
    """What the entries of a log say, as they pass."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self._is_given = bool(owner)
        self.places: list[Head] = []
        self.times: list[str] = []
        self.notes: list[Note] = []
        self.made: list[Made] = []
        self.tested: list[Tested] = []
        self._odd: list[str] = []

    def take(self, entry: Entry) -> None:
        """One more entry."""
        self.places.append(entry.place)
        self.times[1:] = [entry.time]
        note = Note.of(entry)
        if note is not None:
            self.notes.append(note)
        self.made += filter(None, [Made.of(entry)])
        self.tested += filter(None, [Tested.of(entry)])
        if not self._is_given:
            self._ask_whose(entry)
        wrong = objection(entry.event, entry.facts)
        if wrong:
            self._odd.append(f"entry {entry.number}: {wrong}")

    def remarks(self) -> Iterator[str]:
        """What stands in no table, and what a peer is accused of."""
        if self._odd:
            yield f"{len(self._odd)} entries are not as the table of events has them; {self._odd[0]!r} first"
        for note in self.notes:
            if note.rolled_back:
                yield f"entry {note.number} tells that the log of {note.peer} went back to {note.head}"

    def _ask_whose(self, entry: Entry) -> None:
        created = entry.event == SITE_CREATED
        # At the coordinator, the entry on a site that enrolled names a node too.
        enrolled = entry.event == SITE_ENROLLED and "node" not in entry.facts
        if entry.event == COORDINATOR_CREATED:
            self.owner = COORDINATOR
        elif (created or enrolled) and self.owner != COORDINATOR:
            self.owner = str(entry.facts.get("site", ""))


def _beginning(source: Source, heads: Sequence[Head]) -> Head:
    """What the first entry follows from: nothing, or a head that somebody kept.

    Raises:
        Fault: It follows from something else.
    """
    first = first_entry(source.parts[0].content, source.form)
    if first is None or first.number <= 1:
        return Head()
    before = Head(first.number - 1, first.previous)
    if before in heads:
        return before
    if first.event == CONTINUED:
        return Head()  # which file it goes on with is told where entries are read
    why = f"is the first here; give the head of what came before it: --head {before.number}:DIGEST"
    raise Fault(source.parts[0].name, 1, first.number, why)


def _ending(source: Source, places: Sequence[Head], heads: Sequence[Head]) -> str:
    """What says that a log ends where it does; "" if nothing does.

    Raises:
        Fault: Something says that it ends elsewhere.
    """
    part, last = source.parts[-1], places[-1]
    line = part.content.count(b"\n")
    if part.torn and not source.is_live:
        raise Fault(part.name, line + 1, last.number + 1, "has no end")
    if source.head is None:
        return "--head" if last in heads else ""
    # A process may have ended after it wrote the entry and before it wrote the head.
    if source.head.content in [place.to_bytes() for place in places[-2:]]:
        return source.head.name
    name, said = source.head.name, head_in(source.head.content)
    if said is None:
        raise Fault(part.name, line, last.number, f"may not be the last: {name} is damaged or missing")
    if said.number > last.number:
        raise Fault(part.name, line + 1, last.number + 1, f"is missing: {name} names {said}")
    raise Fault(part.name, line, last.number, f"is not the end: {name} names {said}")


def _remarks(source: Source, ended_by: str, first_bad: Fault | None) -> Iterator[str]:
    if source.parts[-1].torn and source.is_live and first_bad is None:
        count = len(source.parts[-1].torn)
        yield f"{count} bytes after the last entry have no end: a crash left them, the next entry repairs it"
    if not ended_by and first_bad is None:
        yield "nothing here says that no entries came after the last; a head kept elsewhere would (--head)"
