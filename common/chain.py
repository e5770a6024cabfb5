"""A file that only grows, its entries chained by hashes: JSON Lines, one entry a line.

Each entry names the digest of the one before it, so an entry that is changed, dropped or moved breaks the
chain from there on. The last number and digest also stand in a file beside it, the head: a chain that was cut
off at its end is noticed too. Whoever can rewrite both files can rewrite all of it; copies of the head that
are kept elsewhere answer that.

Invariants, with the process killed or the power cut at any moment:

- What ``OpenChain.append`` returned is on the disk: entry, head, and the folder that names them.
- Head and chain differ by one entry at most, the one that was being written.
- Nothing is added to, or taken from, a chain that is not what was written. A last line without its end was
  never returned to anybody; it is taken away before the next one is added.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from common.errors import ConsiliumError
from common.files import unwritable, write_atomically

Fact = str | int | float | bool | None
Facts = Mapping[str, Fact]
Clock = Callable[[], datetime]

GENESIS = "0" * 64
HEAD_SUFFIX = ".head"
_KINDS = {"number": int, "time": str, "event": str, "facts": dict, "previous": str, "digest": str}
_HINT = "Free some space, or mend the permissions of the file named above, and try again."


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


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
        return f"{self.number}:{self.digest}"

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


def next_entry(last: Entry | None, time: str, event: str, facts: Facts) -> Entry:
    """The entry that follows ``last``, or the first where that is None."""
    number, previous = (last.number + 1, last.digest) if last else (1, GENESIS)
    return Entry(number, time, event, dict(facts), previous).sealed()


def read_entry(line: bytes) -> Entry | None:
    """The entry that a line holds, whatever became of it since; None if it cannot be read."""
    try:
        document: dict[str, Any] = json.loads(line)
        kinds = {key: type(value) for key, value in document.items()}
    except (ValueError, AttributeError, RecursionError):
        return None
    return Entry(**document) if kinds == _KINDS else None


class Chain:
    """The chain in one file; several processes may read it and add to it.

    Args:
        path: The file; its folder exists. The head lies beside it, with the ending ``.head``.
        broken: What to raise where the file is not what was written.
        now: The clock.
    """

    def __init__(self, path: Path, broken: type[ConsiliumError], now: Clock = utc_now) -> None:
        self.path = path
        self.head_path = path.with_suffix(HEAD_SUFFIX)
        self._broken = broken
        self._now = now

    def entries(self) -> tuple[Entry, ...]:
        """All entries, each checked against the one before it, the last against the head.

        Raises:
            ConsiliumError: ``broken``, which names the first entry that does not fit.
        """
        with self.reading() as entries:
            return entries

    @contextmanager
    def reading(self) -> Iterator[tuple[Entry, ...]]:
        """All entries, checked; during the block nobody adds to them.

        Raises:
            ConsiliumError: ``broken``, which names the first entry that does not fit.
        """
        with ExitStack() as stack:
            try:
                content = stack.enter_context(locked(self.path, os.O_RDONLY, fcntl.LOCK_SH)).readall()
            except FileNotFoundError:
                content = b""
            except OSError as error:
                raise self._broken(f"{self.path} cannot be read: {error.strerror or error}") from None
            yield self._verified(content).entries

    @contextmanager
    def opened(self) -> Iterator[OpenChain]:
        """The chain, checked, for a decision: during the block nobody else reads it or adds to it.

        Raises:
            ConsiliumError: ``broken``; nothing was added to it or taken from it.
            DiskFull, OutputUnwritable: It cannot be written.
        """
        with ExitStack() as stack:
            with self.writing():
                file = stack.enter_context(locked(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT))
                found = self._verified(file.readall())
                if found.torn:
                    file.truncate(found.size_bytes)
                if found.behind:
                    self.write_head(found.entries[-1])
            yield OpenChain(self, file, list(found.entries))

    def write_head(self, entry: Entry) -> None:
        """Let the head name ``entry``, on the disk."""
        write_atomically(self.head_path, _head_of(entry), 0o600)
        sync_folder(self.path.parent)

    def time(self) -> str:
        """What the clock says, as entries have it."""
        return self._now().isoformat(timespec="seconds")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Code what the disk refuses during the block.

        Raises:
            DiskFull, OutputUnwritable: It does.
        """
        try:
            yield
        except OSError as error:
            coded = unwritable(self.path, error)
            coded.hint = _HINT
            raise coded from None

    def _verified(self, content: bytes) -> _Verified:
        *lines, torn = content.split(b"\n")
        entries: list[Entry] = []
        for line in lines:
            entries.append(self._follower(line, entries[-1] if entries else None))
        return _Verified(tuple(entries), bool(torn), len(content) - len(torn), self._is_behind(entries))

    def _follower(self, line: bytes, last: Entry | None) -> Entry:
        number, previous = (last.number + 1, last.digest) if last else (1, GENESIS)
        entry = read_entry(line)
        if entry is None:
            raise self._broken(f"{self.path}: entry {number} cannot be read")
        if entry.to_line() != line + b"\n":
            raise self._broken(f"{self.path}: entry {number} was changed")
        if (entry.number, entry.previous) != (number, previous):
            raise self._broken(f"{self.path}: entry {number} does not follow from the one before")
        return entry

    def _is_behind(self, entries: Sequence[Entry]) -> bool:
        """Whether the head names the entry before the last: the process ended between the two."""
        try:
            head = self.head_path.read_bytes()
        except FileNotFoundError:
            head = b""
        except OSError as error:
            raise self._broken(f"{self.head_path} cannot be read: {error.strerror or error}") from None
        if head == (_head_of(entries[-1]) if entries else b""):
            return False
        if entries and head == (_head_of(entries[-2]) if len(entries) > 1 else b""):
            return True
        raise self._broken(
            f"{self.path} ends with entry {len(entries)}; {self.head_path.name} says otherwise"
        )


@dataclass(frozen=True, slots=True)
class _Verified:
    """Content that is what was written: whole entries, and perhaps a beginning of one more."""

    entries: tuple[Entry, ...]
    torn: bool
    size_bytes: int
    behind: bool


@dataclass(slots=True)
class OpenChain:
    """A chain that was checked, while it is locked."""

    chain: Chain
    file: FileIO
    entries: list[Entry]

    def append(self, event: str, facts: Facts) -> Entry:
        """The entry that now ends the chain; it is on the disk when this returns.

        Raises:
            DiskFull, OutputUnwritable: It cannot be written. It may be there all the same.
        """
        last = self.entries[-1] if self.entries else None
        entry = next_entry(last, self.chain.time(), event, facts)
        folder = self.chain.path.parent
        with self.chain.writing():
            # Who wrote the last head may have been killed before it was on the disk, and must not fall
            # two entries behind if the power is cut now.
            sync_folder(folder)
            write_whole(self.file, entry.to_line())
            self.chain.write_head(entry)
            if last is None:  # the folder may be as new as the file
                sync_folder(folder.parent)
        self.entries.append(entry)
        return entry


@contextmanager
def locked(path: Path, flags: int, lock: int = fcntl.LOCK_EX) -> Iterator[FileIO]:
    """The file that is at ``path`` once it is locked, unbuffered; only its owner may read it.

    Raises:
        FileNotFoundError: There is none, and ``flags`` do not make one.
        OSError: It cannot be opened.
    """
    while True:
        with FileIO(os.open(path, flags, 0o600), "r+" if flags & os.O_RDWR else "r") as file:
            if flags & os.O_RDWR:
                os.fchmod(file.fileno(), 0o600)
            fcntl.flock(file, lock)
            if _is_at(path, file):
                yield file
                return


def _is_at(path: Path, file: FileIO) -> bool:
    """Whether the file was not replaced by another while its lock was waited for."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def write_whole(file: FileIO, data: bytes) -> None:
    """Add all of ``data``, on the disk."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names of the folder's files on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def canonical(document: Mapping[str, Any]) -> bytes:
    """JSON with one spelling for each content: ASCII, keys in order, no blanks."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode()


def _head_of(entry: Entry) -> bytes:
    return canonical({"number": entry.number, "digest": entry.digest})
