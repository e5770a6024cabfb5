"""A cohort's arrays in one file that is only ever appended to, and read by mapping it into memory.

Each array is stored once, under the digest of its type, shape and bytes, from an address that is a multiple
of ``ALIGNMENT``. What the database does not know of at the file's end is what an interruption tore off; it
is cut away before the next array is written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.dicom.pixels import digest_of
from common.errors import CaseCorrupt
from common.files import unwritable

ALIGNMENT = 64
PIXEL_FILE = "pixels.bin"
STORED_TYPES = ("uint8", "int8", "uint16", "int16", "float32", "float64")


@dataclass(frozen=True, slots=True)
class Blob:
    """Where an array lies.

    Attributes:
        digest: SHA-256 of type, shape and bytes, in hexadecimal.
        offset: First byte in the pixel file.
        dtype: One of ``STORED_TYPES``, little-endian.
        shape: Of the array.
    """

    digest: str
    offset: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Length in the file."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize


class PixelWriter:
    """Appends arrays to a pixel file.

    Args:
        folder: The cohort's folder; made if it is not there.
        size_bytes: How much of the file is known to be good; the rest is cut away.

    Raises:
        CaseCorrupt: The file is shorter than that.
        DiskFull, OutputUnwritable: It cannot be written.
    """

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._path = folder / PIXEL_FILE
        try:
            there = self._path.stat().st_size if self._path.exists() else 0
            if there < size_bytes:
                raise CaseCorrupt(f"{self._path} has {there} bytes of the {size_bytes} that were written")
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path.touch(mode=0o600)
            os.truncate(self._path, size_bytes)
            self._file = self._path.open("r+b")
            self.size_bytes = self._file.seek(size_bytes)
        except OSError as error:
            raise unwritable(self._path, error) from None

    def append(self, array: NDArray[Any], digest: str) -> Blob:
        """Where the array lies from now on."""
        padding = -self.size_bytes % ALIGNMENT
        try:
            self._file.write(b"\0" * padding)
            self._file.write(np.ascontiguousarray(array).data)
        except OSError as error:
            raise unwritable(self._path, error) from None
        blob = Blob(digest, self.size_bytes + padding, array.dtype.name, array.shape)
        self.size_bytes = blob.offset + blob.size_bytes
        return blob

    def sync(self) -> int:
        """Size of the file once all of it is on the disk."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise unwritable(self._path, error) from None
        return self.size_bytes

    def close(self) -> None:
        """Let go of the file."""
        try:
            self._file.close()
        except OSError as error:
            raise unwritable(self._path, error) from None


class PixelStore:
    """The arrays of a cohort, read where they lie.

    Args:
        folder: The cohort's folder.
        blobs: The arrays by digest.

    Raises:
        CaseCorrupt: The file is missing or too short.
    """

    def __init__(self, folder: Path, blobs: Mapping[str, Blob]) -> None:
        self._blobs = blobs
        needed = max((b.offset + b.size_bytes for b in blobs.values()), default=0)
        path = folder / PIXEL_FILE
        there = path.stat().st_size if path.exists() else 0
        if there < needed:
            raise CaseCorrupt(f"{path} has {there} bytes; {needed} are needed")
        self._bytes: NDArray[np.uint8] = (
            np.memmap(path, mode="r", dtype=np.uint8) if there else np.empty(0, dtype=np.uint8)
        )

    def array(self, digest: str) -> NDArray[Any]:
        """A view of the array; nothing is copied.

        Raises:
            CaseCorrupt: No such array.
        """
        blob = self._blobs.get(digest)
        if blob is None:
            raise CaseCorrupt(f"array {digest[:12]} is not in the store")
        view = self._bytes[blob.offset : blob.offset + blob.size_bytes]
        array: NDArray[Any] = np.ndarray(blob.shape, np.dtype(blob.dtype), view.data)
        return array

    def intact(self, digest: str) -> bool:
        """Whether the array is the one that was written."""
        return digest in self._blobs and digest_of(self.array(digest)) == digest
