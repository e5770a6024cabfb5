"""An append-only log of what was done with data, chained by hashes: JSON Lines, one entry a line.

Each entry names the digest of the one before it, so an entry that is changed, dropped or moved breaks the
chain from there on. The last number and digest also stand in a file beside it (``audit.head``): a log that
was cut off at its end is noticed too. Whoever can rewrite both files can rewrite all of it; copies of the
head that are kept elsewhere answer that.

Facts are counts, codes and names of cohorts or sites, never a value out of a patient's data.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from common.errors import AuditBroken
from common.files import unwritable, write_atomically

Fact = str | int | float | bool | None
GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log.

    Attributes:
        number: Counts from 1.
        time: When, in UTC, ISO 8601.
        event: What, as ``cohort.added``.
        facts: What belongs to it.
        previous: Digest of the entry before, ``GENESIS`` for the first.
    """

    number: int
    time: str
    event: str
    facts: Mapping[str, Fact]
    previous: str

    @property
    def digest(self) -> str:
        """SHA-256 of the entry's canonical JSON, in hexadecimal."""
        return hashlib.sha256(_canonical(asdict(self)).encode()).hexdigest()

    def to_line(self) -> bytes:
        """The entry as it stands in the file."""
        return (_canonical({**asdict(self), "digest": self.digest}) + "\n").encode()


class AuditLog:
    """The log in one file; several processes may append to it.

    Args:
        path: The file; its folder exists.
        now: The clock.
    """

    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path = path
        self._head = path.with_suffix(".head")
        self._now = now

    def append(self, event: str, **facts: Fact) -> Entry:
        """The entry that now ends the log; it is on the disk when this returns.

        Raises:
            AuditBroken: The log is not what was written; nothing is added to it.
            DiskFull, OutputUnwritable: It cannot be written.
        """
        with self._locked() as file:
            number, previous = self._end(file)
            entry = Entry(number + 1, self._now().isoformat(timespec="seconds"), event, facts, previous)
            file.seek(0, os.SEEK_END)
            file.write(entry.to_line())
            file.flush()
            os.fsync(file.fileno())
            write_atomically(self._head, _canonical({"number": entry.number, "digest": entry.digest}))
        return entry

    def entries(self) -> Iterator[Entry]:
        """All entries, each checked against the one before it, the last against the head.

        Raises:
            AuditBroken: Names the first entry that does not fit.
        """
        lines: Iterable[bytes] = ()
        if self.path.exists():
            with self.path.open("rb") as file:
                lines = file.readlines()
        yield from self._chain(lines)

    def _chain(self, lines: Iterable[bytes]) -> Iterator[Entry]:
        number, previous, before = 0, GENESIS, None
        for line in lines:
            entry = _parse(line, number + 1)
            if entry.number != number + 1 or entry.previous != previous:
                raise AuditBroken(f"{self.path}: entry {number + 1} does not follow from the one before")
            number, previous, before = entry.number, entry.digest, entry.previous
            yield entry
        self._check_head(number, previous, before)

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        try:
            with self.path.open("a+b") as file:
                self.path.chmod(0o600)
                fcntl.flock(file, fcntl.LOCK_EX)
                yield file
        except OSError as error:
            raise unwritable(self.path, error) from None

    def _end(self, file: BinaryIO) -> tuple[int, str]:
        """Number and digest of the last entry; a line that a power cut left unfinished is taken away."""
        file.seek(0)
        lines = file.readlines()
        if lines and not lines[-1].endswith(b"\n"):
            file.truncate(sum(map(len, lines)) - len(lines.pop()))
        entries = list(self._chain(lines))
        return (entries[-1].number, entries[-1].digest) if entries else (0, GENESIS)

    def _check_head(self, number: int, digest: str, previous: str | None) -> None:
        """The head names the last entry, or the one before it where a power cut came between the two."""
        head = self._read_head()
        one_behind = (number - 1, previous) if previous is not None else (number, digest)
        if head not in {(number, digest), one_behind} and (number, head) != (1, (0, GENESIS)):
            raise AuditBroken(f"{self.path} ends with entry {number}; its head names entry {head[0]}")

    def _read_head(self) -> tuple[int, str]:
        try:
            head = json.loads(self._head.read_bytes())
            return int(head["number"]), str(head["digest"])
        except FileNotFoundError:
            return 0, GENESIS
        except (OSError, ValueError, KeyError, TypeError):
            raise AuditBroken(f"{self._head} cannot be read") from None


def _parse(line: bytes, expected: int) -> Entry:
    where = f"entry {expected}"
    try:
        document: dict[str, Any] = json.loads(line)
        digest = document.pop("digest")
        entry = Entry(**document)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise AuditBroken(f"{where} of the audit log cannot be read") from None
    if entry.digest != digest:
        raise AuditBroken(f"{where} of the audit log was changed")
    return entry


def _canonical(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
