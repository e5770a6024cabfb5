"""The inbox: a folder in which each object is a whole file or not there at all.

The pictures are still identified: the folder is its owner's alone (mode 0700, files 0600), and a file's name
is a digest of its SOP instance UID, never a name or number of a patient. A file is written under a hidden
name, synced and then renamed. An instance that is there already is kept as it is; if the same UID arrives
with another data set, that is kept beside it, so that the intake can see the conflict.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from client.pacs.settings import Receiver
from common.errors import DiskFull, OutputUnwritable
from common.files import unwritable

PARTIAL = ".partial"
_MARK = 132  # length of the preamble and "DICM" of a Part 10 file (PS3.10 7.1)
_CHUNK = 2**20
_LOOK_AT_DISK_EVERY = 16 * 2**20


class Arrival(StrEnum):
    """What became of an object that was sent."""

    new = "new"
    already = "already"
    too_large = "too_large"
    no_space = "no_space"
    unwritable = "unwritable"


@dataclass(frozen=True, slots=True)
class Tally:
    """How many objects arrived, by what became of them."""

    new: int = 0
    already: int = 0
    too_large: int = 0
    no_space: int = 0
    unwritable: int = 0
    size_bytes: int = 0

    @property
    def refused(self) -> int:
        """How many were not kept."""
        return self.too_large + self.no_space + self.unwritable

    def plus(self, arrival: Arrival, size_bytes: int) -> Tally:
        """The tally after one arrival more; its size counts if it was kept."""
        kept = size_bytes if arrival is Arrival.new else 0
        count = {arrival.value: getattr(self, arrival.value) + 1}
        return replace(self, size_bytes=self.size_bytes + kept, **count)


Progress = Callable[[Tally], None]


class Inbox:
    """A folder that objects are received into; safe to be used by several threads.

    Args:
        folder: Made if it is not there.
        limits: Largest object, most bytes, least free space.
        progress: Told the tally after each arrival, from whichever thread received it.

    Raises:
        DiskFull, OutputUnwritable: The folder cannot be made.
    """

    def __init__(self, folder: Path, limits: Receiver, progress: Progress | None = None) -> None:
        self.folder = folder
        self.limits = limits
        self.tally = Tally()
        self.last_activity_s = time.monotonic()
        self.progress: Progress = progress or (lambda tally: None)
        self._lock = threading.Lock()
        self._count = 0
        self._open: set[Partial] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.chmod(0o700)
            _sweep(folder)
            self._used = 0 if limits.max_total_bytes is None else sum(_sizes(folder))
        except OSError as error:
            raise unwritable(folder, error) from None

    def __enter__(self) -> Inbox:
        return self

    def __exit__(self, *_: object) -> None:
        for partial in list(self._open):
            partial.discard()

    def path(self, sop_uid: str) -> Path:
        """Where the instance with this SOP instance UID (0008,0018) is kept."""
        digest = hashlib.sha256(sop_uid.strip(" \0").encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest}.dcm"

    def holds(self, sop_uid: str) -> bool:
        """Whether the instance is here; a file that is here is whole."""
        return self.path(sop_uid).exists()

    def partial(self) -> Partial:
        """A file to be filled; nobody sees it before it is kept."""
        with self._lock:
            self._count += 1
            name = f".{os.getpid()}-{self._count}{PARTIAL}"
        partial = Partial(self, self.folder / name)
        self._open.add(partial)
        return partial

    def keep(self, partial: Partial, sop_uid: str) -> Arrival:
        """Give a filled file its name; returns what became of it. What is not kept is deleted."""
        arrival = partial.trouble or self._settle(partial, sop_uid)
        partial.discard()
        with self._lock:
            self.tally = self.tally.plus(arrival, partial.size_bytes)
            tally = self.tally
        self.progress(tally)
        return arrival

    def check_space(self) -> None:
        """Nothing, if the tally has no object that found no place.

        Raises:
            DiskFull: The disk or the inbox is full.
            OutputUnwritable: The folder could not be written.
        """
        if self.tally.no_space:
            raise DiskFull(
                f"{self.folder}: {self.tally.no_space} objects found no place "
                f"([receive] min_free_bytes and max_total_bytes say how much it may hold)"
            )
        if self.tally.unwritable:
            raise OutputUnwritable(f"{self.folder}: {self.tally.unwritable} objects could not be written")

    def charge(self, size_bytes: int) -> None:
        """Count bytes that were written, or given back, against what the inbox may hold."""
        self.last_activity_s = time.monotonic()
        with self._lock:
            self._used += size_bytes

    def is_full(self, *, look_at_disk: bool = True) -> bool:
        """Whether nothing more may be written."""
        most = self.limits.max_total_bytes
        return (most is not None and self._used > most) or (
            look_at_disk and shutil.disk_usage(self.folder).free < self.limits.min_free_bytes
        )

    def closed(self, partial: Partial) -> None:
        """Forget a file that is no longer being filled."""
        self._open.discard(partial)

    def _settle(self, partial: Partial, sop_uid: str) -> Arrival:
        place = self.path(sop_uid)
        try:
            partial.sync()
            place.parent.mkdir(mode=0o700, exist_ok=True)
            with self._lock:
                if place.exists():
                    digest = _digest_of_data(partial.path)
                    if digest == _digest_of_data(place):
                        return Arrival.already
                    place = place.with_name(f"{place.stem}-{digest[:16]}.dcm")
                    if place.exists():
                        return Arrival.already
                partial.publish(place)
            _sync_folder(place.parent)
        except OSError as error:
            return _trouble(error)
        return Arrival.new


class Partial:
    """A file of the inbox that is being filled. Writing never raises: what went wrong is in ``trouble``.

    Attributes:
        path: Its hidden name.
        size_bytes: Bytes that were sent, also those that were no longer written.
        trouble: Why it cannot be kept, or None.
    """

    def __init__(self, inbox: Inbox, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self.trouble: Arrival | None = None
        self._inbox = inbox
        self._written = 0
        self._file: BinaryIO | None = None
        try:
            self._file = _create(path)
            if inbox.is_full():
                self._give_up(Arrival.no_space)
        except OSError as error:
            self._give_up(_trouble(error))

    def write(self, data: bytes) -> None:
        """Add bytes; after trouble they are let go, so that a sender can be answered in order."""
        before, self.size_bytes = self.size_bytes, self.size_bytes + len(data)
        self._inbox.charge(0)
        if self.trouble is not None or self._file is None:
            return
        if self.size_bytes > self._inbox.limits.max_object_bytes:
            self._give_up(Arrival.too_large)
            return
        try:
            self._file.write(data)
            self._written += len(data)
            self._inbox.charge(len(data))
            look = before // _LOOK_AT_DISK_EVERY != self.size_bytes // _LOOK_AT_DISK_EVERY
            if self._inbox.is_full(look_at_disk=look):
                self._give_up(Arrival.no_space)
        except OSError as error:
            self._give_up(_trouble(error))

    def sync(self) -> None:
        """Have everything on the disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def publish(self, place: Path) -> None:
        """Give the file its name."""
        self.path.replace(place)
        self._written = 0  # stays on the disk, and so in the account

    def discard(self) -> None:
        """Close the file, and delete it unless it has been given its name."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # a full disk refuses the last bytes once more
                file.close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        self._inbox.charge(-self._written)
        self._written = 0
        self._inbox.closed(self)

    def _give_up(self, trouble: Arrival) -> None:
        self.discard()
        self.trouble = trouble


def _create(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as long as somebody fills it, nobody sweeps it
    return os.fdopen(descriptor, "w+b", buffering=_CHUNK)


def _sweep(folder: Path) -> None:
    """Delete what an interrupted transfer left: hidden files that no process holds."""
    for path in folder.glob(f".*{PARTIAL}"):
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _sizes(folder: Path) -> Iterator[int]:
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # another process may be receiving
                yield (Path(parent) / name).stat().st_size


def _digest_of_data(path: Path) -> str:
    """Digest of a Part 10 file's data set, without its file meta information (group 0002)."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(_MARK + 8)  # value of (0002,0000), UL: bytes of the group that follow
        file.seek(_MARK + 12 + int.from_bytes(file.read(4), "little"))
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _trouble(error: OSError) -> Arrival:
    return Arrival.no_space if error.errno in (errno.ENOSPC, errno.EDQUOT) else Arrival.unwritable
