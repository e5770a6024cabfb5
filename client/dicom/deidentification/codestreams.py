"""Compressed pictures without the texts that JPEG and JPEG 2000 let anybody put beside the picture.

Cameras write EXIF with place and owner, programs write comments. Their bytes become zeros where they stand,
so that no length and no picture changes (ISO/IEC 10918-1 B.1.1 and B.2.4, ISO/IEC 15444-1 A.9.2).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

_ITEM = b"\xfe\xff\x00\xe0"
_JPEG_START, _JPEG_2000_START = b"\xff\xd8", b"\xff\x4f\xff"

_COMMENT, _END = 0xFE, 0xD9
_DECODED_BY = frozenset({0xE0, 0xE8, 0xEE})
"""Application segments that decoders heed: JFIF, JPEG-LS's and Adobe's colour transforms."""
_TEXTS = frozenset({_COMMENT, *range(0xE0, 0xF0)}) - _DECODED_BY

_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
"""What can stand behind a scan: within one, 0xFF is followed by less than 0x80 or by a restart marker."""

_COMMENT_2000, _TILE_2000 = 0x64, 0x90

Span = tuple[int, int]


def without_texts(encapsulated: bytes) -> bytes:
    """The encapsulated pixel data (7FE0,0010) with comments and application segments blanked.

    Args:
        encapsulated: Items of PS3.5 A.4: an offset table, then fragments.

    Returns:
        The same object if there was nothing to blank; always of the same length.
    """
    spans = [
        span
        for fragments in _streams(encapsulated)
        for start, end in _texts(b"".join(encapsulated[slice(*fragment)] for fragment in fragments))
        for span in _placed(start, end, fragments)
        if any(encapsulated[slice(*span)])
    ]
    if not spans:
        return encapsulated
    blanked = bytearray(encapsulated)
    for start, end in spans:
        blanked[start:end] = bytes(end - start)
    return bytes(blanked)


def _fragments(data: bytes) -> Iterator[Span]:
    """Where the bytes of each item begin and end."""
    place = 0
    while data[place : place + 4] == _ITEM and place + 8 <= len(data):
        length: int = struct.unpack_from("<L", data, place + 4)[0]
        yield place + 8, min(place + 8 + length, len(data))
        place += 8 + length


def _streams(data: bytes) -> list[list[Span]]:
    """The fragments of each compressed picture; what is neither JPEG nor JPEG 2000 is left out."""
    streams: list[list[Span]] = []
    for fragment in _fragments(data):
        if data.startswith((_JPEG_START, _JPEG_2000_START), *fragment):
            streams.append([fragment])
        elif streams:
            streams[-1].append(fragment)
    return streams


def _placed(start: int, end: int, fragments: list[Span]) -> Iterator[Span]:
    """Where the bytes from ``start`` to ``end`` of joined fragments stand."""
    before = 0
    for first, behind in fragments:
        size = behind - first
        if start < before + size and end > before:
            yield first + max(0, start - before), first + min(size, end - before)
        before += size


def _texts(stream: bytes) -> Iterator[Span]:
    """The spans of a compressed picture that no decoder needs."""
    if stream.startswith(_JPEG_START):
        yield from _jpeg_texts(stream, len(_JPEG_START), len(stream))
    else:
        yield from _jpeg_2000_texts(stream, 2, len(stream))


def _jpeg_texts(data: bytes, place: int, end: int) -> Iterator[Span]:
    while (found := _MARKER.search(data, place, end)) is not None:
        marker, place = data[found.start() + 1], found.end()
        if marker == _END:
            yield place, end
            return
        size = _segment_size(data, place, end)
        if marker in _TEXTS:
            yield place + 2, place + size
        place += size  # behind a scan's header the search passes over the scan itself


def _jpeg_2000_texts(data: bytes, place: int, end: int) -> Iterator[Span]:
    """Comments of the main header; the registration value before each stays."""
    while place + 4 <= end and data[place] == 0xFF and data[place + 1] != _TILE_2000:
        size = _segment_size(data, place + 2, end)
        if data[place + 1] == _COMMENT_2000:
            yield place + 6, place + 2 + size
        place += 2 + size


def _segment_size(data: bytes, place: int, end: int) -> int:
    """Bytes of a segment from its length on; at least the two of the length, at most what is there."""
    size: int = struct.unpack_from(">H", data, place)[0] if place + 2 <= end else 2
    return max(2, min(size, end - place))
