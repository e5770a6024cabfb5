"""Writing files whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from common.errors import DiskFull, OutputUnwritable


def write_atomically(path: Path, content: bytes | str, mode: int = 0o666) -> None:
    """Put ``content`` at ``path`` in one step: a reader sees the old file or the new one, never a part.

    Args:
        path: Where.
        content: What.
        mode: Permissions of the new file, less the process's umask.

    Raises:
        DiskFull: No space is left.
        OutputUnwritable: The folder does not exist or may not be written.
    """
    with written_atomically(path, mode) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def written_atomically(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file to be written to during the block; when it ends without an error it is at ``path``, on the disk.

    Raises:
        DiskFull, OutputUnwritable: As :func:`write_atomically`; also for an ``OSError`` of the block.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        try:
            with open(partial, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; ``OSError`` where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unwritable(path: Path, error: OSError) -> DiskFull | OutputUnwritable:
    """The coded error for a failed write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"{path}: {error.strerror}")
    return OutputUnwritable(f"{path}: {error.strerror or error}")
