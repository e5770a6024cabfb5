"""A log in several files: the one that is written, and those that were closed at their limit, in order.

    audit.jsonl          is written
    audit-000001.jsonl   the oldest; never changed again

The first entry of each file but the oldest names the file before it, its head and its SHA-256. Closing a
file copies it to its new name, then puts a new one in its place, each in one step. Killed in between, there
is a copy of the file that is still written: it counts for nothing, and is written anew at the next attempt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.chain import Head, OpenChain, next_entry, replaced, sync_folder
from common.errors import AuditBroken
from common.evidence.entry import Entry, Facts, read_entry
from common.evidence.events import CONTINUED
from common.evidence.reading import Fault, Part, entries_of, first_entry
from common.files import write_atomically

_NUMBERED = re.compile("-([0-9]{6,})")


@dataclass(frozen=True, slots=True)
class Limits:
    """When a file is closed: at so many entries or bytes, whichever comes first.

    Checking a file in full, which every process does that begins to write, takes 15 µs an entry.
    """

    entries: int = 4096
    size_bytes: int = 2 * 1024 * 1024

    def reached(self, entries: int, size_bytes: int) -> bool:
        """Whether nothing more belongs in the file."""
        return entries >= self.entries or size_bytes >= self.size_bytes


def closed_files(path: Path) -> tuple[Path, ...]:
    """The closed files of the log that is written at ``path``, the oldest first, as far as they are there."""
    found = ((_number(path, other), other) for other in path.parent.glob(f"{path.stem}-*{path.suffix}"))
    return tuple(file for number, file in sorted(found) if number)


def without_copy(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Files of one log, less a copy of the last one, as it was once, that a killed process left behind."""
    copied = len(parts) > 1 and _begins(parts[-1].content, parts[-2].content)
    return (*parts[:-2], parts[-1]) if copied else tuple(parts)


@contextmanager
def closing(log: OpenChain) -> Iterator[OpenChain]:
    """Go on in a new file; during the block nobody else adds to it.

    Raises:
        DiskFull, OutputUnwritable: It cannot be made; the log goes on in the old one.
    """
    path = log.chain.path
    number = _number_before(path, log.entries[0]) + 1
    part = Part(f"{path.stem}-{number:06d}{path.suffix}", path.read_bytes())
    with log.chain.writing():
        sync_folder(path.parent)  # the head of the old file is on the disk before there is a new one
        write_atomically(path.with_name(part.name), part.content, 0o400)
        sync_folder(path.parent)
    entry = next_entry(log.entries[-1], log.chain.time(), CONTINUED, part.joint(log.entries[-1]))
    with log.chain.writing(), replaced(path, entry.to_line()) as file:
        log.chain.write_head(entry)
        yield OpenChain(log.chain, file, [entry])


@dataclass(frozen=True, slots=True)
class _Summary:
    """What a closed file comes down to, for as long as its stamp is the same."""

    stamp: tuple[int, ...]
    first: Entry | None
    joint: Facts | None


class ClosedFiles:
    """The closed files of one log; each is read once, and again when it was touched.

    Args:
        path: The file that is written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._summaries: dict[Path, _Summary] = {}

    def before(self, content: bytes) -> Head:
        """What the file that is written follows from.

        Args:
            content: All of that file.

        Raises:
            AuditBroken: The closed files are not what was written; names the first entry that does not fit.
        """
        files, first = self._files(content), first_entry(content)
        for file in reversed(files):
            summary = self._summary(file)
            if first is None or first.event != CONTINUED or first.facts != summary.joint:
                raise self._broken(files, content)
            first = summary.first
        if first is not None and first.event == CONTINUED:
            raise self._broken(files, content)
        joint = self._summary(files[-1]).joint if files else None
        return (joint and Head.of(str(joint["head"]))) or Head()

    def entries(self, first: Entry | None) -> Iterator[Entry]:
        """All entries before the file that is written, checked.

        Args:
            first: The first entry of that file.

        Raises:
            AuditBroken: One does not fit.
        """
        newest = _number_before(self._path, first) if first else 0
        files = [file for file in closed_files(self._path) if _number(self._path, file) <= newest]
        try:
            yield from entries_of([Part(file.name, _read(file)) for file in files])
        except Fault as fault:
            raise self._named(fault) from None

    def _files(self, content: bytes) -> tuple[Path, ...]:
        """The closed files, less a copy of the one that is written."""
        files = closed_files(self._path)
        alike = bool(files) and self._summary(files[-1]).first == first_entry(content)
        return files[:-1] if alike and _begins(content, _read(files[-1])) else files

    def _summary(self, file: Path) -> _Summary:
        status = file.stat()
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        known = self._summaries.get(file)
        if known is None or known.stamp != stamp:
            content = _read(file)
            last = read_entry(content[content.rfind(b"\n", 0, -1) + 1 :])
            joint = Part(file.name, content).joint(last) if last else None
            self._summaries[file] = known = _Summary(stamp, first_entry(content), joint)
        return known

    def _broken(self, files: Sequence[Path], content: bytes) -> AuditBroken:
        """What is wrong, found by reading all of it."""
        parts = [*(Part(file.name, _read(file)) for file in files), Part(self._path.name, content)]
        try:
            for _ in entries_of(parts):
                pass
        except Fault as fault:
            return self._named(fault)
        return AuditBroken(f"{self._path}: the closed files were changed while they were read")

    def _named(self, fault: Fault) -> AuditBroken:
        return AuditBroken(f"{self._path.with_name(fault.file)}: entry {fault.number} {fault.why}")


def _begins(content: bytes, copy: bytes) -> bool:
    return bool(copy) and content.startswith(copy)


def _number(path: Path, other: Path) -> int:
    """The number in a closed file's name; 0 if it is none."""
    found = _NUMBERED.fullmatch(other.name.removeprefix(path.stem).removesuffix(path.suffix))
    return int(found[1]) if found else 0


def _number_before(path: Path, first: Entry) -> int:
    """The number of the closed file before the one that begins with ``first``; 0 if there is none."""
    name = str(first.facts.get("file")) if first.event == CONTINUED else ""
    return _number(path, Path(name)) if name else 0


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise AuditBroken(f"{file} cannot be read: {error.strerror or error}") from None
