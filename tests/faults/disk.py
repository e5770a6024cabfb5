"""A disk that is full, may only be read, or holds something else than was written: the injector for these.

``Disk`` stands between this process and its files, and needs no rights. It knows a file by the end of the
path that it will have once it is whole, so a file that is being written counts as what it will be:

    disk.fills_up("training/*.checkpoint")        every such file fails from now on, with ENOSPC
    disk.fills_up("*.jsonl", at=3, times=2)       only the third and the fourth time that one is written
    disk.may_only_be_read(folder)                 nothing in the folder can be made, changed or removed: EROFS
    disk.mend()                                   there is room again

A write fails where files are brought to the disk, at ``fsync``; half of what was written by then stays, as on
a real disk. Weights on their way fail as well when they are written, since not all of them are brought there,
and when they get another name. ``disk.refused`` names what could not be written: who injects looks.

``without_room(journal)`` is SQLite's own way of being full: its file may not grow any more.

``DAMAGES`` are the ways in which a file comes back wrong; each takes what was written and gives what is read.
"""

from __future__ import annotations

import errno
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

import common.link.blobs
from server.journal import Journal

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a bit at its begin": lambda data: flipped(data, 0.0),
    "a bit in the middle": lambda data: flipped(data, 0.5),
    "a bit at its end": lambda data: flipped(data, 1.0),
    "cut off": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
}
_PARTIAL = re.compile(r"^\.(.+?)(\.\d+)?\.partial$|^(.+)\.\d+\.partial$")
_CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def flipped(data: bytes, place: float) -> bytes:
    """The data with one bit turned over, ``place`` of the way from its first byte (0) to its last (1)."""
    changed = bytearray(data)
    changed[int(place * (len(data) - 1))] ^= 0x10
    return bytes(changed)


def spoil(path: Path, damage: Callable[[bytes], bytes]) -> None:
    """Have a file hold something else than was written."""
    path.write_bytes(damage(path.read_bytes()))


@dataclass
class _Trouble:
    """Files that cannot be written, from which time on, and how often."""

    pattern: str
    at: int
    times: float
    number: int
    writes: int = 0

    def strikes(self, name: str) -> bool:
        if not fnmatch(name, f"*/{self.pattern}"):
            return False
        self.writes += 1
        return self.at <= self.writes < self.at + self.times


@dataclass
class Disk:
    """The disk of this process; nothing is wrong with it until it is told.

    Attributes:
        refused: The files that could not be written or changed, by their paths, in order.
    """

    refused: list[str] = field(default_factory=list)
    _troubles: list[_Trouble] = field(default_factory=list)
    _read_only: list[str] = field(default_factory=list)
    _whole: dict[int, int] = field(default_factory=dict)  # how long each file is that was brought to the disk
    _fsync: Callable[[int], None] = os.fsync

    def fills_up(
        self, pattern: str, at: int = 1, times: float = math.inf, number: int = errno.ENOSPC
    ) -> None:
        """Have no room for some files, ``times`` times from the ``at``-th on that one of them is written."""
        self._troubles.append(_Trouble(pattern, at, times, number))

    def may_only_be_read(self, folder: Path) -> None:
        """Let nothing in a folder be changed."""
        self._read_only.append(str(folder))

    def mend(self) -> None:
        """Make room, and let everything be written again."""
        self._troubles.clear()
        self._read_only.clear()

    def fsync(self, descriptor: int) -> None:
        """In the place of ``os.fsync``."""
        path, status = Path(f"/proc/self/fd/{descriptor}").readlink(), os.fstat(descriptor)
        name = str(path.with_name(final_name(path.name)))
        for trouble in self._troubles:
            if trouble.strikes(name):
                self.refused.append(name)
                kept = min(self._whole.get(status.st_ino, status.st_size), status.st_size)
                os.truncate(path, (kept + status.st_size + 1) // 2)
                raise OSError(trouble.number, os.strerror(trouble.number))
        self._fsync(descriptor)
        self._whole[status.st_ino] = status.st_size

    def linking(self, real: Callable[..., None]) -> Callable[..., None]:
        """``os.link``: a name more takes room too."""

        def link(source: Any, target: Any, **options: Any) -> None:
            self._require_room(os.fspath(target))
            real(source, target, **options)

        return link

    def writing(self, real: Callable[[FileIO, memoryview], None]) -> Callable[[FileIO, memoryview], None]:
        """What writes blobs, some of which are never brought to the disk on purpose."""

        def write(file: FileIO, data: memoryview) -> None:
            path = Path(f"/proc/self/fd/{file.fileno()}").readlink()
            self._require_room(str(path.with_name(final_name(path.name))))
            real(file, data)

        return write

    def _require_room(self, name: str) -> None:
        for trouble in self._troubles:
            if trouble.strikes(name):
                self.refused.append(name)
                raise OSError(trouble.number, os.strerror(trouble.number))

    def guarding(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """A function of ``os`` that changes what its first argument names, unless that may only be read."""

        def changing(path: Any, *given: Any, **options: Any) -> Any:
            only_reads = real.__name__ == "open" and not int((given or (0,))[0]) & _CHANGES
            if not only_reads and not isinstance(path, int):
                self._check(os.fspath(path))
            result = real(path, *given, **options)
            if real.__name__ == "open":
                self._note_length(result)
            return result

        return changing

    def _note_length(self, descriptor: int) -> None:
        """What is in a file when it is first opened is on the disk."""
        status = os.fstat(descriptor)
        if not status.st_size:
            self._whole[status.st_ino] = 0
        self._whole.setdefault(status.st_ino, status.st_size)

    def _check(self, path: str) -> None:
        # As Linux does it: where not even the folder is there, that is what is said.
        inside = any(path.startswith(folder) for folder in self._read_only)
        if inside and Path(path).parent.is_dir():
            self.refused.append(path)
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)


def final_name(name: str) -> str:
    """The name that a file will have once it is whole."""
    found = _PARTIAL.fullmatch(name)
    return name if found is None else (found[1] or found[3])


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """The disk of this test."""
    made = Disk(_fsync=os.fsync)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", made.fsync)
        for name in ("open", "mkdir", "link", "replace", "unlink", "rmdir"):
            patch.setattr(os, name, made.guarding(getattr(os, name)))
        patch.setattr(os, "link", made.linking(os.link))
        patch.setattr("common.link.blobs._write", made.writing(common.link.blobs._write))
        yield made


@contextmanager
def without_room(journal: Journal) -> Iterator[None]:
    """Let the file of a journal not grow during the block: SQLite says that the disk is full."""
    engine = journal._database._backend.reader

    def held(connection: Any) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # SQLite makes of it what it has already

    def free(connection: Any) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1073741823")

    event.listen(engine, "begin", held)
    try:
        yield
    finally:
        event.remove(engine, "begin", held)
        with engine.connect() as connection:
            free(connection)
