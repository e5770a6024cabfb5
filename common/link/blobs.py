"""Weights on their way, as files that are named by the SHA-256 of their bytes.

A blob that is not complete lies beside the others: its size when complete stands in its name, so that the
room it will need is kept for it by all processes, also after a restart. Whoever writes to it holds a lock on
it, which ends with the process.

Invariants, with any process killed at any moment and several of them at work in one folder:

- A blob is given out only after its bytes were found to be those that its digest names.
- A digest becomes part of a path only if it is 64 lower-case hexadecimal digits.
- Sizes of all blobs, each incomplete one counted as if complete, never add up to more than the limit.
- What a killed process left behind is gone on with or written anew.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import TypeVar

from common.chain import locked, sync_folder
from common.errors import BlobRefused
from common.link.blob_folder import MOST_BLOBS, BlobFolder, total_of, unlink_unused
from common.link.running import Piece, Running
from common.mapped import MappedFile

Parts = Sequence[Piece]
T = TypeVar("T")

# Two changes of a file within one tick of the kernel's clock leave the same time behind.
_TICK_NS = 100_000_000
_Stamp = tuple[int, int, int, int]


def digest_of(parts: Iterable[Piece]) -> str:
    """SHA-256 of the pieces one after the other, in hexadecimal."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part)
    return sha.hexdigest()


class BlobStore:
    """Blobs in one folder; several processes and threads may use it.

    Each method refuses what is no digest. What one sender has begun under a digest another one goes on with:
    where senders do not trust each other, each has a store of its own.

    Args:
        folder: Where; made if it is not there.
        limit_bytes: Of all blobs together.
        durable: Whether what a method returned from outlives a power cut. Where it need not, because the blob
            can be had again, the disk is not waited for; one that was spoilt is found out when it is read.

    Raises:
        DiskFull, OutputUnwritable: The folder cannot be made.
    """

    def __init__(self, folder: Path, limit_bytes: int, *, durable: bool = True) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._folder = BlobFolder(folder, limit_bytes)
        self._durable = durable
        self._running: dict[str, Running] = {}
        self._sound: dict[str, _Stamp] = {}

    def put(self, parts: Parts, digest: str | None = None) -> str:
        """The blob's digest, once all of it is here.

        Args:
            parts: Its bytes.
            digest: Where it is known, so that what is here already need not be hashed.

        Raises:
            BlobRefused: There is no room for it, or that is not its digest.
            DiskFull, OutputUnwritable: It cannot be written.
        """
        digest = digest_of(parts) if digest is None else digest
        if self._renewed(digest):
            return digest
        size = sum(memoryview(part).nbytes for part in parts)
        with self._folder.coded(), self._folder.writing(digest, size) as file:
            if file is None:
                return digest
            try:
                self._write_checked(file, parts, digest)
                self._complete(digest, size, file)
            except BaseException:  # nobody will go on with it: its room is given back
                self._folder.unfinished(digest, size).unlink(missing_ok=True)
                raise
        return digest

    def adopt(self, other: BlobStore, digest: str) -> None:
        """Have a blob that another store has, without copying it where both are on one disk.

        Raises:
            BlobRefused: It is not there, or there is no room for it.
            DiskFull, OutputUnwritable: It cannot be written.
        """
        if self._renewed(digest):
            return
        size, path = other.size(digest), other._folder.blob(digest)
        try:
            if self._durable:
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            with self._folder.locked():
                self._folder.require_room(size)
                self._folder.blob(digest).hardlink_to(path)
            if self._durable:
                sync_folder(self.folder)
        except OSError:  # another disk, or one that knows no links
            self.put([other.read(digest)], digest)

    def has(self, digest: str) -> bool:
        """Whether all of the blob is here."""
        return self._folder.has(digest)

    def size(self, digest: str) -> int:
        """Length of the blob in bytes.

        Raises:
            BlobRefused: It is not here, or not all of it.
        """
        try:
            return self._folder.blob(digest).stat().st_size
        except OSError:
            raise BlobRefused(f"blob {digest[:12]} is not in the store") from None

    def read(self, digest: str) -> memoryview:
        """The blob's bytes, a :class:`common.mapped.MappedFile`: arrays over them know where they lie.

        They are hashed at the first time, unless they were when this store wrote them, and again whenever the
        file was touched since.

        Raises:
            BlobRefused: It is not here, or its bytes are others; then it is removed, to be sent again.
        """
        path, began_ns = self._folder.blob(digest), time.time_ns()
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                # None can be mapped of an empty one.
                view = memoryview(MappedFile.of(file, path) if status.st_size else b"")
        except OSError:
            raise BlobRefused(f"blob {digest[:12]} is not in the store or cannot be read") from None
        stamp = _stamp(status)
        if self._sound.get(digest) != stamp:
            if digest_of([view]) != digest:
                self.remove(digest)
                raise BlobRefused(f"blob {digest[:12]} is not what was stored; it was removed")
            if began_ns - status.st_ctime_ns > _TICK_NS:
                _remember(self._sound, digest, stamp)
        return view

    def chunks(self, digest: str, offset: int, sizes: Iterable[int]) -> Iterator[memoryview]:
        """The blob's bytes from ``offset`` on, in pieces of these sizes, of which there are enough.

        Raises:
            BlobRefused: It is not here, or shorter than that.
        """
        view = self.read(digest)
        if not 0 <= offset <= len(view):
            raise BlobRefused(f"blob {digest[:12]} has {len(view)} bytes and none at {offset}")
        return _cut(view[offset:], iter(sizes))

    def offset(self, digest: str) -> int:
        """How many bytes of the blob are here, from its beginning."""
        for path in (self._folder.blob(digest), *self._folder.all_unfinished(digest)):
            with suppress(FileNotFoundError):
                return path.stat().st_size
        return 0

    def append(self, digest: str, offset: int, total: int, data: Piece) -> int:
        """How many bytes of the blob are here, with these.

        Bytes that are here already are left as they are: a piece may come twice, or from two senders.

        Args:
            digest: Of the whole blob.
            offset: Where in it these bytes belong.
            total: Its length.
            data: The bytes.

        Raises:
            BlobRefused: Bytes between are missing, there are more than announced, or no room for the whole.
            DiskFull, OutputUnwritable: They cannot be written; some of them may be here all the same.
        """
        if not 0 <= offset <= offset + len(data) <= total:
            raise BlobRefused(f"{len(data)} bytes at {offset} of a blob of {total}")
        with self._folder.coded(), self._folder.writing(digest, total) as file:
            if file is None:
                return self.size(digest)
            size = file.seek(0, os.SEEK_END)
            if offset > size:
                raise BlobRefused(f"bytes of blob {digest[:12]} at {offset}, where only {size} are here")
            fresh = memoryview(data)[size - offset :]
            running = self._caught_up(digest, file)
            file.seek(size)
            self._add(file, fresh)
            running.take(fresh)
            return size + len(fresh)

    def finish(self, digest: str) -> None:
        """Make the blob one that can be read: all of it has come.

        Raises:
            BlobRefused: Bytes are missing, and more can be appended; or they are not those that the digest
                names, and all of them are gone.
            DiskFull, OutputUnwritable: It cannot be written.
        """
        with self._folder.coded():
            for path in self._folder.all_unfinished(digest):
                # Another process may have completed or removed it since.
                with suppress(FileNotFoundError), locked(path, os.O_RDWR) as file:
                    self._finish(digest, path, file)
            if not self._renewed(digest):
                raise BlobRefused(f"nothing of blob {digest[:12]} is here")

    def remove(self, digest: str) -> None:
        """Forget the blob, complete or not.

        Raises:
            OutputUnwritable: It cannot be removed.
        """
        with self._folder.coded():
            for path in (self._folder.blob(digest), *self._folder.all_unfinished(digest)):
                path.unlink(missing_ok=True)
        self._forget(digest)

    def keep(self, digests: Collection[str], untouched_s: float = 0.0) -> None:
        """Remove all blobs but these, and all that is incomplete and not being written.

        Args:
            digests: Of the blobs that stay, and of those that may still become complete.
            untouched_s: What was written to, or put again, within this time stays too: a blob comes before
                the message that names it.

        Raises:
            OutputUnwritable: One cannot be removed.
        """
        with self._folder.coded(), self._folder.locked():
            oldest = time.time() - untouched_s
            for path, status in self._folder.files():
                digest = path.name[:64]
                if digest not in digests and status.st_mtime <= oldest:
                    unlink_unused(path)
                    self._forget(digest)

    def _finish(self, digest: str, path: Path, file: FileIO) -> None:
        """Complete one unfinished file, or remove it."""
        total, size = total_of(path), file.seek(0, os.SEEK_END)
        if size < total:
            raise BlobRefused(f"blob {digest[:12]} has {size} of {total} bytes")
        running = self._caught_up(digest, file)
        if running.digest != digest:  # or another process replaced the file unnoticed
            running = Running(running.inode)
            running.catch_up(file)
        if running.digest != digest:
            path.unlink()
            self._forget(digest)
            raise BlobRefused(f"the bytes of blob {digest[:12]} are others than its digest names")
        self._complete(digest, total, file)

    def _complete(self, digest: str, total: int, file: FileIO) -> None:
        """Put the file that is locked in the blob's place."""
        os.utime(file.fileno())
        if self._durable:
            os.fsync(file.fileno())
        with self._folder.locked():  # who counts the bytes sees it under one name
            self._folder.unfinished(digest, total).replace(self._folder.blob(digest))
        if self._durable:
            sync_folder(self.folder)
        self._forget(digest)
        # All of it was hashed on its way in, and nobody writes to a blob that is complete.
        _remember(self._sound, digest, _stamp(os.fstat(file.fileno())))

    def _write_checked(self, file: FileIO, parts: Parts, digest: str) -> None:
        """Fill the file; hashing, which is as slow as writing, goes on beside it."""
        with ThreadPoolExecutor(1, "hash") as beside:
            hashing = beside.submit(digest_of, parts)
            file.truncate(0)
            for part in parts:
                self._add(file, memoryview(part).cast("B"))
            if hashing.result() != digest:
                raise BlobRefused(f"the bytes of blob {digest[:12]} are others than its digest names")

    def _add(self, file: FileIO, data: memoryview) -> None:
        start = file.tell()
        _write(file, data)
        if self._durable:
            # With this Linux begins to write them to the disk, and waits for nothing: the synchronising at
            # the end of a blob finds most of it done. It drops only pages that are on the disk by then.
            os.posix_fadvise(file.fileno(), start, len(data), os.POSIX_FADV_DONTNEED)

    def _caught_up(self, digest: str, file: FileIO) -> Running:
        """The hash of all that the file holds; the file is locked."""
        status = os.fstat(file.fileno())
        running = self._running.get(digest)
        if running is None or running.inode != status.st_ino or running.size > status.st_size:
            running = Running(status.st_ino)
            _remember(self._running, digest, running)
        running.catch_up(file)
        return running

    def _renewed(self, digest: str) -> bool:
        """Whether the blob is here; then it counts as put just now."""
        path = self._folder.blob(digest)
        with self._folder.coded(), self._folder.locked():
            if not path.is_file():
                return False
            known = self._sound.get(digest) == _stamp(path.stat())
            os.utime(path)
            if known:
                _remember(self._sound, digest, _stamp(path.stat()))
            return True

    def _forget(self, digest: str) -> None:
        self._running.pop(digest, None)
        self._sound.pop(digest, None)


def _cut(view: memoryview, sizes: Iterator[int]) -> Iterator[memoryview]:
    while view:
        size = next(sizes)
        yield view[:size]
        view = view[size:]


def _stamp(status: os.stat_result) -> _Stamp:
    """What changes whenever a file is written to."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _write(file: FileIO, data: memoryview) -> None:
    while data:
        data = data[file.write(data) or 0 :]


def _remember(known: dict[str, T], digest: str, value: T) -> None:
    """Add what can be worked out again: where too much is known, all of it is forgotten first."""
    if len(known) >= MOST_BLOBS:
        known.clear()
    known[digest] = value
