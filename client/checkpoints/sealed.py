"""A file that is whole or not there: a header and a body, the SHA-256 of both at its end.

    8 bytes   length of the header, little-endian
    header    JSON
    body      bytes
    32 bytes  SHA-256 of all before

Invariants, with the process killed or the power cut at any moment: what ``write_sealed`` returned from is on
the disk, readable by its owner alone; ``read_sealed`` gives what was written or nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from common.chain import sync_folder
from common.files import unwritable

log = logging.getLogger("consilium.client")

_LENGTH_BYTES, _DIGEST_BYTES = 8, 32


class Writer(Protocol):
    """Whatever bytes can be written to."""

    def write(self, data: Any, /) -> int:
        """How many bytes of ``data`` were taken."""
        ...


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a file holds."""

    header: Mapping[str, Any]
    body: memoryview


class _Hashed:
    """Writes to a file and hashes what it writes; remembers why it could not.

    torch reports a writer that failed by an error of its own, which does not say that the disk was full.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._sha = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: Any, /) -> int:
        """How many bytes of ``data`` were taken: all of them."""
        view = memoryview(data).cast("B")
        try:
            self._file.write(view)
        except OSError as error:
            self.error = error
            raise
        self._sha.update(view)
        return len(view)

    def flush(self) -> None:
        """Nothing: the file is flushed when it is closed."""

    @property
    def digest(self) -> bytes:
        """Of all that was written."""
        return self._sha.digest()


def write_sealed(
    path: Path, header: Mapping[str, Any], body: Callable[[Writer], object], *, first: bool = False
) -> bool:
    """Whether the file was written; on the disk when this returns.

    Args:
        path: Where; its folder is made if need be.
        header: Fit for JSON.
        body: Writes the body.
        first: Leave a file that is there already alone, and return False: what came first counts.

    Raises:
        DiskFull, OutputUnwritable: It cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        make_private(path.parent)
        try:
            _write(partial, header, body)
            if first:
                os.link(partial, path)
            else:
                partial.replace(path)
            sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        if first and isinstance(error, FileExistsError):
            return False
        raise unwritable(path, error) from None
    return True


def _write(path: Path, header: Mapping[str, Any], body: Callable[[Writer], object]) -> None:
    described = json.dumps(header, sort_keys=True).encode()
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        hashed = _Hashed(file)
        try:
            hashed.write(len(described).to_bytes(_LENGTH_BYTES, "little") + described)
            body(hashed)
        except Exception:  # whatever the body makes of it, the disk's own words count
            if hashed.error is not None:
                raise hashed.error from None
            raise
        file.write(hashed.digest)
        file.flush()
        os.fsync(file.fileno())


def read_sealed(path: Path) -> Sealed | None:
    """What the file holds; None if it is not there, cannot be read, or is not what was written."""
    try:
        content = memoryview(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s cannot be read (%s); it is left aside", path.name, error.strerror)
        return None
    sealed, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if len(content) < _LENGTH_BYTES + _DIGEST_BYTES or hashlib.sha256(sealed).digest() != digest:
        log.warning("%s is damaged; it is left aside", path.name)
        return None
    start = _LENGTH_BYTES + int.from_bytes(sealed[:_LENGTH_BYTES], "little")
    return Sealed(json.loads(bytes(sealed[_LENGTH_BYTES:start])), sealed[start:])


def make_private(folder: Path) -> None:
    """Have the folder, open to nobody else, and so every folder around it that was not there."""
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
