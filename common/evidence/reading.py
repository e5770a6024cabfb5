"""Entries of a log's files, each checked against the one before; the first that does not fit is named.

Pure: names and contents come in, entries or a :class:`Fault` go out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from common.evidence.entry import PLAIN, Entry, Fact, Facts, Form, Head, follower
from common.evidence.events import CONTINUED


class Fault(Exception):
    """The first entry that is not what was written.

    Args:
        file: The file's name.
        line: Its line there; one more than there are where something is missing.
        number: The number that the entry has, or should have.
        why: What is wrong with it.
    """

    def __init__(self, file: str, line: int, number: int, why: str) -> None:
        super().__init__(f"{file}: entry {number} (line {line}) {why}")
        self.file, self.line, self.number, self.why = file, line, number, why


@dataclass(frozen=True, slots=True)
class Part:
    """One file: its name, and what is in it."""

    name: str
    content: bytes

    @property
    def torn(self) -> bytes:
        """A beginning of an entry, after the last line that has an end."""
        return self.content[self.content.rfind(b"\n") + 1 :]

    def joint(self, last: Entry) -> Facts:
        """Facts of the entry with which a log goes on after this file."""
        facts: dict[str, Fact] = {"file": self.name, "head": last.head}
        return {**facts, "sha256": hashlib.sha256(self.content).hexdigest()}


def entries_of(parts: Sequence[Part], before: Head | None = None, form: Form = PLAIN) -> Iterator[Entry]:
    """All entries, each checked against the one before it; only the last file may end within a line.

    Args:
        parts: Files of one log, the oldest first.
        before: What the first entry follows from; nothing, if None.
        form: How the entries are spelt.

    Raises:
        Fault: An entry does not fit.
    """
    last: Entry | None = None
    place = before or Head()
    for index, part in enumerate(parts):
        joint = parts[index - 1].joint(last) if last else None
        lines = part.content.split(b"\n")[:-1]
        for number, line in enumerate(lines, start=1):
            try:
                if number == 1:
                    _require_joint(first_entry(part.content, form), joint, place)
                last = follower(line, place, form)
            except ValueError as why:
                raise Fault(part.name, number, place.number + 1, str(why)) from None
            place = last.place
            yield last
        closed = index + 1 < len(parts)
        if (closed and part.torn) or (not lines and (closed or joint)):
            lack = "has no end" if part.torn else "is missing"
            raise Fault(part.name, len(lines) + 1, place.number + 1, lack)


def first_entry(content: bytes, form: Form = PLAIN) -> Entry | None:
    """What the first line says, checked by its own digest alone; None if there is none."""
    line, end, _ = content.partition(b"\n")
    entry = form.read(line) if end else None
    return entry if entry is not None and _is_whole(entry) else None


def _is_whole(entry: Entry) -> bool:
    try:
        return entry.sealed() == entry
    except (ValueError, RecursionError):  # Python reads numbers and depths that it does not write
        return False


def _require_joint(first: Entry | None, joint: Facts | None, place: Head) -> None:
    """Let a file pass that goes on with the one before it, or, where there is none, with ``place``.

    Raises:
        ValueError: It does not; says why.
    """
    if first is None:
        return  # its line does not stand the next check
    goes_on = first.event == CONTINUED
    if goes_on and (first.facts.get("file") != joint["file"] if joint else not place.number):
        raise ValueError(f"goes on with {str(first.facts.get('file'))[:60]!r}, which is not there")
    if joint and not (goes_on and dict(first.facts) == dict(joint)):
        raise ValueError(f"does not go on with {joint['file']} as that is")
