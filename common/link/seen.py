"""No statement counts twice, also not after a restart: which were seen, for as long as their age allows.

A statement older than the window is refused unseen, so nothing older needs to be remembered: memory and file
hold the statements of one window, and of a sender of very many the latest. What is forgotten raises its
sender's floor; nothing issued at or before the floor is taken any more. So neither a clock that is set back
nor a flood of statements brings a forgotten one into play again.

The file is text: ``issued sender id`` on each line, ``-`` in place of the id where a line tells a floor. One
process at a time uses it. A statement that ``take`` let pass is on the disk. A last line without its end was
never let pass; where any other line cannot be read, all that was issued until now counts as forgotten.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from common.chain import sync_folder, write_whole
from common.errors import ClockSkewed, EnvelopeReplayed, OutputUnwritable
from common.files import unwritable, write_atomically

if TYPE_CHECKING:
    from common.link.envelope import Statement

WINDOW_MS = 7 * 24 * 60 * 60 * 1000
AHEAD_MS = 5 * 60 * 1000
LIMIT = 20_000

_ALL = "*"  # no sender has this name; a floor under it is everybody's
_FLOOR = "-"
_LINE = re.compile(rb"([0-9]{1,16}) ([a-z0-9-]{1,64}|\*) ([0-9a-f]{32}|-)")
# Lines beyond those needed before the file is written anew.
_SLACK = 1000


def clock_ms() -> int:
    """The time, in milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class _Past:
    """One sender's statements by id with the time they were issued, none from the floor down missing."""

    floor: int = 0
    issued: dict[str, int] = field(default_factory=dict)

    def forget(self, until: int, limit: int) -> None:
        """Leave the latest ``limit`` of those issued since ``until``, and raise the floor to the others."""
        if len(self.issued) <= limit and min(self.issued.values(), default=until) >= until:
            return
        ordered = sorted(self.issued.items(), key=lambda item: item[1])
        old = sum(issued < until for _, issued in ordered)
        gone = max(old, len(ordered) - limit)
        self.floor = max(self.floor, ordered[gone - 1][1])
        self.issued = dict(ordered[gone:])


class Seen:
    """The statements that were taken before.

    Args:
        path: Where they are remembered; its folder exists.
        window_ms: How old a statement may be: as long as one may lie undelivered.
        limit: How many of one sender are remembered whatever their age.
        now_ms: The clock.

    Raises:
        DiskFull, OutputUnwritable: The file cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        *,
        window_ms: int = WINDOW_MS,
        limit: int = LIMIT,
        now_ms: Callable[[], int] = clock_ms,
    ) -> None:
        self.path = path
        self._window_ms, self._limit, self._now_ms = window_ms, limit, now_ms
        self._senders: dict[str, _Past] = {}
        self._lock = threading.Lock()
        self._load()
        self._file, self._room = self._written()

    def take(self, statement: Statement) -> None:
        """Let the statement count, this once; that it did is on the disk when this returns.

        Raises:
            EnvelopeReplayed: It was taken before.
            ClockSkewed: It was issued too long ago, or too far ahead of the clock, to know.
            DiskFull, OutputUnwritable: It cannot be remembered, so it does not count.
        """
        with self._lock:
            self._check(statement)
            if self._room <= 0:
                self._file.close()
                self._file, self._room = self._written()
            self._append(_line(statement.issued, statement.sender, statement.id))
            self._past(statement.sender).issued[statement.id] = statement.issued

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._file.close()

    def _check(self, statement: Statement) -> None:
        past, now = self._past(statement.sender), self._now_ms()
        if statement.id in past.issued:
            raise EnvelopeReplayed(f"{statement.kind} {statement.id} of {statement.sender} came before")
        floor = max(past.floor, self._past(_ALL).floor, now - self._window_ms - 1)
        if not floor < statement.issued <= now + AHEAD_MS:
            raise ClockSkewed(
                f"{statement.kind} {statement.id} of {statement.sender} was issued "
                f"{(now - statement.issued) / 1000:.0f} s ago; whether it came before is not known"
            )

    def _past(self, sender: str) -> _Past:
        return self._senders.setdefault(sender, _Past())

    def _append(self, line: bytes) -> None:
        try:
            write_whole(self._file, line)
        except OSError as error:
            self._room = 0  # a part of the line may be there: the file is written anew before the next
            raise unwritable(self.path, error) from None
        self._room -= 1

    def _load(self) -> None:
        try:
            *lines, _ = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputUnwritable(f"{self.path} cannot be read: {error.strerror or error}") from None
        for line in lines:
            found = _LINE.fullmatch(line)
            issued, sender, what = found.groups() if found else (b"%d" % self._now_ms(), b"*", b"-")
            past = self._past(sender.decode())
            if what == _FLOOR.encode():
                past.floor = max(past.floor, int(issued))
            else:
                past.issued[what.decode()] = int(issued)

    def _written(self) -> tuple[FileIO, int]:
        """The file, written anew with what is still needed, and how many lines it takes until the next."""
        until = self._now_ms() - self._window_ms
        for past in self._senders.values():
            past.forget(until, self._limit)
        lines = list(self._lines())
        write_atomically(self.path, b"".join(lines), 0o600)
        try:
            sync_folder(self.path.parent)
            return FileIO(self.path, "a"), len(lines) + _SLACK
        except OSError as error:
            raise unwritable(self.path, error) from None

    def _lines(self) -> Iterator[bytes]:
        for sender, past in self._senders.items():
            if past.floor:
                yield _line(past.floor, sender, _FLOOR)
            for what, issued in past.issued.items():
                yield _line(issued, sender, what)


def _line(issued: int, sender: str, what: str) -> bytes:
    return f"{issued} {sender} {what}\n".encode()
