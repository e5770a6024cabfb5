"""The folder that blobs lie in: what they are called there, who may change them, and how many fit.

DIGEST                 a blob, all of it
DIGEST.SIZE.partial    one that is on its way, and how long it will be
lock                   held by whoever begins or removes one
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path

from common.chain import locked
from common.errors import BlobRefused
from common.files import unwritable

MOST_BLOBS = 2**14
_DIGEST = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = re.compile(r"([0-9a-f]{64})\.([0-9]{1,19})\.partial")
_LOCK = "lock"


class BlobFolder:
    """A folder of blobs, complete or not; several processes and threads may use it.

    Args:
        path: Where; made if it is not there.
        limit_bytes: Of all blobs together.

    Raises:
        DiskFull, OutputUnwritable: It cannot be made.
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.path, self.limit_bytes = path, limit_bytes
        with self.coded():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def writing(self, digest: str, total: int) -> Iterator[FileIO | None]:
        """The blob's unfinished file, locked; None once the blob is complete."""
        with ExitStack() as stack:
            file = None
            while file is None and not self.has(digest):
                path = self._begun(digest, total)
                with suppress(FileNotFoundError):  # another completed or removed it before it was locked
                    file = stack.enter_context(locked(path, os.O_RDWR))
            yield file

    def _begun(self, digest: str, total: int) -> Path:
        """The blob's unfinished file: made if there is room for all that will be in it, unless complete."""
        path = self.unfinished(digest, total)
        if path.exists():
            return path
        with self.locked():
            if self.has(digest):
                return path
            for other in self.all_unfinished(digest):
                if other != path:  # of another length: one of the two is not what the digest names
                    other.unlink(missing_ok=True)
            self.require_room(total)
            path.touch(mode=0o600)
        return path

    def require_room(self, total: int) -> None:
        """See that a blob more fits; whoever asks holds the lock.

        Raises:
            BlobRefused: It does not.
        """
        sizes = [max(status.st_size, total_of(path)) for path, status in self.files()]
        if sum(sizes) + total > self.limit_bytes or len(sizes) >= MOST_BLOBS:
            raise BlobRefused(f"no room for {total} bytes beside {len(sizes)} blobs of {sum(sizes)}")

    def blob(self, digest: str) -> Path:
        """Where a blob lies once all of it is here.

        Raises:
            BlobRefused: That is no digest.
        """
        if not _DIGEST.fullmatch(digest):
            raise BlobRefused("a name that is no SHA-256 in lower-case hexadecimal")
        return self.path / digest

    def has(self, digest: str) -> bool:
        """Whether all of the blob is here."""
        return self.blob(digest).is_file()

    def unfinished(self, digest: str, total: int) -> Path:
        """Where it lies before."""
        return self.blob(digest).with_name(f"{digest}.{total}.partial")

    def all_unfinished(self, digest: str) -> list[Path]:
        """Where it was begun, with whatever length."""
        self.blob(digest)
        return sorted(self.path.glob(f"{digest}.*.partial"))

    def files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """All blobs, complete or not."""
        with os.scandir(self.path) as entries:
            for entry in entries:
                if _DIGEST.fullmatch(entry.name) or _UNFINISHED.fullmatch(entry.name):
                    with suppress(FileNotFoundError):
                        yield self.path / entry.name, entry.stat()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """During the block nobody else begins or removes a blob."""
        with locked(self.path / _LOCK, os.O_RDWR | os.O_CREAT):
            yield

    @contextmanager
    def coded(self) -> Iterator[None]:
        """What the disk says during the block, as an error with a code."""
        try:
            yield
        except OSError as error:
            raise unwritable(self.path, error) from None


def total_of(path: Path) -> int:
    """Size that a file will have by its name, 0 where that says nothing."""
    found = _UNFINISHED.fullmatch(path.name)
    return int(found[2]) if found else 0


def unlink_unused(path: Path) -> None:
    """Remove the file, unless somebody is writing to it."""
    unused = locked(path, os.O_RDWR, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with suppress(FileNotFoundError, BlockingIOError), unused:
        path.unlink()
