"""One line of a chain: what it says, how it is spelt, and what it must follow from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

Fact = str | int | float | bool | None
Facts = Mapping[str, Fact]

GENESIS = "0" * 64
_HEAD = re.compile("([1-9][0-9]{0,17}):([0-9a-f]{64})")
_KINDS = {"number": int, "time": str, "event": str, "facts": dict, "previous": str, "digest": str}


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends, or did at some time.

    Attributes:
        number: Of the last entry; 0 where there is none.
        digest: Of the last entry.
    """

    number: int = 0
    digest: str = GENESIS

    @staticmethod
    def of(text: str) -> Head | None:
        """The head that ``number:digest`` names; None if that is none."""
        found = _HEAD.fullmatch(text)
        return Head(int(found[1]), found[2]) if found else None

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"

    def to_bytes(self) -> bytes:
        """What stands in the file of the head."""
        return canonical({"number": self.number, "digest": self.digest}) if self.number else b""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the file.

    Attributes:
        number: Counts from 1.
        time: When, in UTC, ISO 8601.
        event: What, as ``cohort.added``.
        facts: What belongs to it.
        previous: Digest of the entry before, ``GENESIS`` for the first.
        digest: SHA-256 of the canonical JSON of all the others, in hexadecimal.
    """

    number: int
    time: str
    event: str
    facts: Facts
    previous: str
    digest: str = ""

    @property
    def head(self) -> str:
        """The entry in short, as ``number:digest``."""
        return str(self.place)

    @property
    def place(self) -> Head:
        """The head of a chain that ends with this entry."""
        return Head(self.number, self.digest)

    def sealed(self) -> Entry:
        """The same with the digest of its content."""
        return replace(self, digest=hashlib.sha256(self._content()).hexdigest())

    def to_line(self) -> bytes:
        """The entry as it stands in the file, under the digest of its content."""
        content = self._content()
        # In canonical order "digest" is the first key, so it goes in front of what it was taken of.
        return b'{"digest":"%s",%s\n' % (hashlib.sha256(content).hexdigest().encode(), content[1:])

    def _content(self) -> bytes:
        return canonical(
            {
                "event": self.event,
                "facts": dict(self.facts),
                "number": self.number,
                "previous": self.previous,
                "time": self.time,
            }
        )


def next_entry(last: Entry | Head | None, time: str, event: str, facts: Facts) -> Entry:
    """The entry that follows ``last``, or the first where that is None."""
    before = last.place if isinstance(last, Entry) else last or Head()
    return Entry(before.number + 1, time, event, dict(facts), before.digest).sealed()


def read_entry(line: bytes) -> Entry | None:
    """The entry that a line holds, whatever became of it since; None if it cannot be read."""
    try:
        document: dict[str, Any] = json.loads(line)
        kinds = {key: type(value) for key, value in document.items()}
    except (ValueError, AttributeError, RecursionError):
        return None
    return Entry(**document) if kinds == _KINDS else None


def head_in(content: bytes) -> Head | None:
    """The head that a file of one holds; None if it is damaged."""
    try:
        document: dict[str, Any] = json.loads(content)
        found = Head.of(f"{document['number']}:{document['digest']}")
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return found if found and found.to_bytes() == content else None


@dataclass(frozen=True, slots=True)
class Form:
    """How entries are spelt, each in one way only.

    Attributes:
        read: The entry that a line holds, whatever became of it; None if it cannot be read.
        write: The line of an entry, with its end, under the digest of its content.
    """

    read: Callable[[bytes], Entry | None]
    write: Callable[[Entry], bytes]


PLAIN = Form(read_entry, Entry.to_line)


def follower(line: bytes, before: Head, form: Form = PLAIN) -> Entry:
    """The entry that a line, without its end, holds, where it is what was written after ``before``.

    Raises:
        ValueError: It is not; says why.
    """
    entry = form.read(line)
    if entry is None:
        raise ValueError("cannot be read")
    try:
        written = form.write(entry) == line + b"\n"
    except (ValueError, RecursionError):  # Python reads numbers and depths that it does not write
        written = False
    if not written:
        raise ValueError("was changed")
    if (entry.number, entry.previous) != (before.number + 1, before.digest):
        raise ValueError("does not follow from the one before")
    return entry


def canonical(document: Mapping[str, Any]) -> bytes:
    """JSON with one spelling for each content: ASCII, keys in order, no blanks."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode()
