"""Pieces of blobs as they travel: a ``BlobChunk``'s bytes, made and read without copying what they carry.

Protobuf's own code copies the data once to encode and twice to decode a message, which shows where it is
weights. The bytes are the same, and whatever is not in the usual order is left to protobuf.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from common.link.link_pb2 import BlobChunk

LEAST_BYTES, MOST_BYTES = 2**14, 2**20
"""Sizes of pieces.

A call in which nothing arrives for a while is taken for a dead one, and so is a line on which an answer waits
too long behind a piece: a slow line needs small ones.
"""

PIECE_S = 1.0
"""How long a piece may be under way."""

AHEAD_BYTES = 2**14
"""What is sent beside a piece before the other side has taken it."""

_LATELY = 8  # pieces that the rate is judged by

_DATA = BlobChunk.DESCRIPTOR.fields_by_name["data"].number << 3 | 2
_VARINT, _BYTES = 0, 2


def paced(clock: Callable[[], float] = time.monotonic) -> Iterator[int]:
    """Sizes of the pieces of a blob, each for as much as the line has carried lately within ``PIECE_S``.

    Args:
        clock: In seconds; looked at whenever a piece is asked for, which is when the last one is under way.
    """
    size, sizes, times = LEAST_BYTES, deque[int](maxlen=_LATELY), deque([clock()], _LATELY + 1)
    while True:
        yield size
        sizes.append(size)
        times.append(clock())
        carried, took = sum(sizes) - AHEAD_BYTES - size, times[-1] - times[0]
        if carried > 0:  # what is only under way says nothing about the line
            fits = int(carried * PIECE_S / took) if took > 0 else MOST_BYTES
            size = max(LEAST_BYTES, min(MOST_BYTES, 2 * size, fits))


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a blob; the fields are those of ``BlobChunk``."""

    digest: str
    offset: int
    size: int
    data: bytes | memoryview


def encoded(digest: str, offset: int, size: int, data: bytes | memoryview) -> bytes:
    """The message that carries a piece."""
    head = BlobChunk(digest=digest, offset=offset, size=size).SerializeToString()
    return b"".join((head, bytes((_DATA,)), _varint(len(data)), data)) if len(data) else head


def decoded(message: bytes) -> Piece:
    """The piece that a message carries; its data are a part of the message.

    Raises:
        DecodeError: That is no such message.
    """
    start, at = _data_in(message)
    if at is None:
        chunk = BlobChunk.FromString(message)
        return Piece(chunk.digest, chunk.offset, chunk.size, chunk.data)
    head = BlobChunk.FromString(message[:start])
    return Piece(head.digest, head.offset, head.size, memoryview(message)[at:])


def _data_in(message: bytes) -> tuple[int, int | None]:
    """Where the data's field begins, and its data, if it is the last one; else None for the data."""
    at = 0
    while at < len(message):
        start = at
        tag, at = _read_varint(message, at)
        value, at = _read_varint(message, at)
        if tag == _DATA and at + value == len(message):
            return start, at
        if tag & 7 not in (_VARINT, _BYTES):
            break
        at += value if tag & 7 == _BYTES else 0
    return 0, None


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends; of one that is cut off or too long, what makes nothing fit."""
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        value, at, shift = value | (byte & 0x7F) << shift, at + 1, shift + 7
        if byte < 0x80:
            return value, at
    return len(message), len(message) + 1
