"""Files that are being filled, and the account of what they may take."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from client.pacs.settings import Receiver
from client.pacs.tally import Arrival

PARTIAL = ".partial"
_BUFFER_BYTES = 2**20
_LOOK_AT_DISK_EVERY = 16 * 2**20


class Account:
    """What the files of a folder take, and whether there is room for more; for several threads.

    Args:
        folder: Whose disk is looked at.
        limits: Largest object, most bytes, least free space.

    Attributes:
        last_activity_s: When something arrived last, on the monotonic clock.
    """

    def __init__(self, folder: Path, limits: Receiver) -> None:
        self.folder = folder
        self.limits = limits
        self.last_activity_s = time.monotonic()
        self._used = 0 if limits.max_total_bytes is None else sum(_sizes(folder))
        self._lock = threading.Lock()

    def charge(self, size_bytes: int) -> None:
        """Count bytes that were written, or given back, against what the folder may hold."""
        with self._lock:
            self._used += size_bytes

    def is_full(self, *, look_at_disk: bool) -> bool:
        """Whether nothing more may be written."""
        most = self.limits.max_total_bytes
        return (most is not None and self._used > most) or (
            look_at_disk and shutil.disk_usage(self.folder).free < self.limits.min_free_bytes
        )


class Partial:
    """A file that is being filled. Writing never raises: what went wrong is in ``trouble``.

    Args:
        account: Of the folder in which it lies; says how much it may take.

    Attributes:
        path: Its hidden name.
        size_bytes: Bytes that were sent, also those that were no longer written.
        trouble: Why it cannot be kept, or None.
    """

    def __init__(self, account: Account) -> None:
        self.path = account.folder / f".{secrets.token_hex(16)}{PARTIAL}"
        self.size_bytes = 0
        self.trouble: Arrival | None = None
        self._account = account
        self._written = 0
        self._file: BinaryIO | None = None
        try:
            self._file = _create(self.path)
            if account.is_full(look_at_disk=True):
                self._give_up(Arrival.no_space)
        except OSError as error:
            self._give_up(trouble_of(error))

    @property
    def is_open(self) -> bool:
        """Whether it can still become a file of the folder."""
        return self._file is not None

    def write(self, data: bytes) -> None:
        """Add bytes; after trouble they are let go, so that a sender can be answered in order."""
        before, self.size_bytes = self.size_bytes, self.size_bytes + len(data)
        self._account.last_activity_s = time.monotonic()
        if self.trouble is not None or self._file is None:
            return
        if self.size_bytes > self._account.limits.max_object_bytes:
            self._give_up(Arrival.too_large)
            return
        try:
            self._file.write(data)
            self._written += len(data)
            self._account.charge(len(data))
            look = before // _LOOK_AT_DISK_EVERY != self.size_bytes // _LOOK_AT_DISK_EVERY
            if self._account.is_full(look_at_disk=look):
                self._give_up(Arrival.no_space)
        except OSError as error:
            self._give_up(trouble_of(error))

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
        self._account.charge(-self._written)
        self._written = 0

    def _give_up(self, trouble: Arrival) -> None:
        self.discard()
        self.trouble = trouble


def _create(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    with suppress(OSError):  # some network disks know no locks; then nothing is swept there either
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # while somebody fills it, nobody sweeps it
    return os.fdopen(descriptor, "w+b", buffering=_BUFFER_BYTES)


def sweep(folder: Path) -> None:
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


def trouble_of(error: OSError) -> Arrival:
    """What an error of the disk means for an object."""
    return Arrival.no_space if error.errno in (errno.ENOSPC, errno.EDQUOT) else Arrival.unwritable
