"""The SHA-256 of an unfinished file, which goes on with each piece that is written."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from io import FileIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

Piece = bytes | bytearray | memoryview

_READ_BYTES = 2**20


@dataclass(slots=True)
class Running:
    """SHA-256 of the first ``size`` bytes of the unfinished file with that number."""

    inode: int
    size: int = 0
    sha: _Hash = field(default_factory=hashlib.sha256)

    def take(self, data: Piece) -> None:
        """Take in the bytes that follow."""
        self.sha.update(data)
        self.size += len(data)

    def catch_up(self, file: FileIO) -> None:
        """Take in what is in the file by now."""
        file.seek(self.size)
        while data := file.read(_READ_BYTES):
            self.take(data)

    @property
    def digest(self) -> str:
        """Of what was taken in, in hexadecimal."""
        return self.sha.hexdigest()
