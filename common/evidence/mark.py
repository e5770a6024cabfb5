"""How a file was left: as long as that is so, nobody has written to it since."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from io import FileIO

from common.evidence.entry import Entry


@dataclass(frozen=True, slots=True)
class Mark:
    """A file that was checked to its last entry.

    Attributes:
        last: That entry.
        entries: How many there are in the file.
        stamp: Device, inode, size in bytes, times of the last write and the last change, in ns.
    """

    last: Entry
    entries: int
    stamp: tuple[int, ...]

    @staticmethod
    def on(file: FileIO, last: Entry, entries: int) -> Mark:
        """The mark of an open, locked file.

        The kernel's own times can stand still for some milliseconds, in which a second write of the same size
        would not show. So the file is given the time to the nanosecond, which no later write gives it again.
        """
        now = time.time_ns()
        os.utime(file.fileno(), ns=(now, now))
        return Mark(last, entries, stamp_of(file.fileno()))

    def holds(self, file: FileIO) -> bool:
        """Whether the file is as it was left."""
        return stamp_of(file.fileno()) == self.stamp

    @property
    def size_bytes(self) -> int:
        """How large the file is."""
        return self.stamp[2]


def stamp_of(handle: int) -> tuple[int, ...]:
    """Device, inode, size in bytes, times of the last write and the last change of an open file."""
    status = os.fstat(handle)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
