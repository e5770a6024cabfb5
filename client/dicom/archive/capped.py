"""Streams of which no more is read than was allowed, whatever their headers promise."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO

from client.dicom.outcomes import Quarantined, Reason

CHUNK_BYTES = 2**20


class Capped(io.RawIOBase):
    """A stream that raises once more than a limit has come out of it.

    Args:
        stream: What is read, such as a file being inflated. It is closed with this one.
        limit_bytes: How much may come out.
        exceeded: Makes what is raised beyond that.
    """

    def __init__(self, stream: IO[bytes], limit_bytes: int, exceeded: Callable[[], Exception]) -> None:
        self._stream = stream
        self._left_bytes = limit_bytes
        self._exceeded = exceeded

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: object) -> int:
        """How many bytes were put into ``buffer``; 0 at the end."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # typeshed has no name for buffers
        data = self._stream.read(len(view))
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise self._exceeded()
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the stream below too."""
        if not self.closed:
            self._stream.close()
        super().close()


def read_capped(stream: IO[bytes], limit: int, declared: int) -> bytes:
    """All that a stream holds.

    Args:
        stream: Read from where it stands to its end.
        limit: Most bytes that may come out of it.
        declared: Size that its header gives; it may lie, and only ever makes the answer come sooner.

    Raises:
        Quarantined: ``empty``, or ``too_large`` at more than ``limit`` bytes.
    """
    if declared > limit:
        raise Quarantined(Reason.too_large, f"{declared} bytes, where {limit} are allowed")
    chunks: list[bytes] = []
    left = limit
    while chunk := stream.read(min(CHUNK_BYTES, left + 1)):
        left -= len(chunk)
        if left < 0:
            raise Quarantined(Reason.too_large, f"more than {limit} bytes")
        chunks.append(chunk)
    if not chunks:
        raise Quarantined(Reason.empty)
    return b"".join(chunks)
