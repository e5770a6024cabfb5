"""How a frame is coded: what JPEG, JPEG-LS and JPEG 2000 codestreams say of themselves.

The decoders are programs in C that believe a codestream; what it asks for is compared with the header of
the object before they see it. The coding is taken from here too, because transfer syntaxes are mistaken more
often than codestreams are.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from struct import error, unpack_from
from typing import Literal

Components = Literal["", "RGB", "YBR_FULL"]


class Coding(StrEnum):
    """How a frame is coded."""

    jpeg = "jpeg"  # lossy: baseline, extended, progressive
    jpeg_lossless = "jpeg-lossless"
    jpeg_ls = "jpeg-ls"
    jpeg_2000 = "jpeg-2000"  # with its high-throughput form


@dataclass(frozen=True, slots=True)
class Codestream:
    """A codestream's own header.

    Attributes:
        coding: How it is coded.
        rows: Height.
        columns: Width.
        samples: Number of components.
        precision: Bits of a component.
        signed: Whether components have a sign; only JPEG 2000 knows.
        components: What the components are where the codestream says so (Adobe or JFIF marker, or
            components that are called R, G, B).
        ended: Whether it ends as it should: the end marker of a JPEG, the last tile of a JPEG 2000.
    """

    coding: Coding
    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool = False
    components: Components = ""
    ended: bool = True


_FRAMES = {
    0xC0: Coding.jpeg,
    0xC1: Coding.jpeg,
    0xC2: Coding.jpeg,
    0xC3: Coding.jpeg_lossless,
    0xF7: Coding.jpeg_ls,
}
"""Start-of-frame markers that there are decoders for (ITU-T T.81 Table B.1, T.87 C.1.1)."""

_ALONE = {0x01, *range(0xD0, 0xD9)}
_FILL, _START_OF_SCAN, _ADOBE, _JFIF = 0xFF, 0xDA, 0xEE, 0xE0
_START_OF_TILE = b"\xff\x90"
_TAIL_BYTES = 64
"""Archives pad a codestream; its end marker is looked for in this many bytes."""

_BOXES_BYTES = 4096
"""A JPEG 2000 file has some boxes before its codestream; it is looked for in this many bytes."""


def parse(frame: bytes) -> Codestream | None:
    """What the codestream says of itself, or None if it is none of these or broken."""
    try:
        if frame.startswith(b"\xff\xd8"):
            return _jpeg(frame)
        start = frame.find(b"\xff\x4f\xff\x51", 0, _BOXES_BYTES)
        return _jpeg_2000(frame, start) if start >= 0 else None
    except (error, IndexError):
        return None


def _jpeg(frame: bytes) -> Codestream | None:
    """Follows the marker segments up to the first scan."""
    position, found, names = 2, None, b""
    adobe, jfif = None, False
    while frame[position] == 0xFF and frame[position + 1] != _START_OF_SCAN:
        marker = frame[position + 1]
        if marker == _FILL or marker in _ALONE:
            position += 1 if marker == _FILL else 2
            continue
        (length,) = unpack_from(">H", frame, position + 2)
        content = frame[position + 4 : position + 2 + length]
        if marker in _FRAMES:
            found, names = (_FRAMES[marker], *unpack_from(">BHHB", content)), content[6::3]
        elif marker == _ADOBE and content.startswith(b"Adobe") and len(content) >= 12:
            adobe = content[11]
        elif marker == _JFIF and content.startswith(b"JFIF"):
            jfif = True
        position += 2 + length
    if found is None or frame[position] != 0xFF:
        return None
    coding, precision, rows, columns, samples = found
    components = _components(names, adobe, jfif)
    return Codestream(coding, rows, columns, samples, precision, False, components, _has_end(frame))


def _components(names: bytes, adobe: int | None, jfif: bool) -> Components:
    """What three components are: Adobe's marker, then their names, then JFIF (T.871) decide."""
    if len(names) != 3:
        return ""
    if adobe is not None:
        return "YBR_FULL" if adobe == 1 else "RGB"
    if names in {b"RGB", b"rgb"}:
        return "RGB"
    return "YBR_FULL" if jfif else ""


def _has_end(frame: bytes) -> bool:
    return frame.rfind(b"\xff\xd9", max(0, len(frame) - _TAIL_BYTES)) >= 0


def _jpeg_2000(frame: bytes, start: int) -> Codestream | None:
    """Reads the SIZ segment (ITU-T T.800 A.5.1); subsampled or mixed components are None."""
    right, lower, left, upper = unpack_from(">4L", frame, start + 8)
    (samples,) = unpack_from(">H", frame, start + 40)
    described = {frame[start + 42 + 3 * n : start + 45 + 3 * n] for n in range(samples)}
    if len(described) != 1:
        return None
    depth, across, down = described.pop()
    if (across, down) != (1, 1):
        return None
    precision, signed = (depth & 0x7F) + 1, bool(depth & 0x80)
    ended = _has_last_tile(frame, start)
    size = (lower - upper, right - left, samples)
    return Codestream(Coding.jpeg_2000, *size, precision, signed, ended=ended)


def _has_last_tile(frame: bytes, start: int) -> bool:
    """Whether all tile-parts lie within the frame, following their lengths (T.800 A.4.2)."""
    position = start + 2
    while frame[position : position + 2] not in {_START_OF_TILE, b""}:
        position += 2 + int(unpack_from(">H", frame, position + 2)[0])
    first = position
    while frame[position : position + 2] == _START_OF_TILE:
        (length,) = unpack_from(">L", frame, position + 6)
        if length == 0:  # the last one, as long as it takes: then only the end marker can say
            return _has_end(frame)
        position += length
    return first < position <= len(frame)
