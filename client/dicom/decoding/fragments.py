"""Encapsulated pixel data (DICOM PS3.5 A.4): from items to one encoded frame each.

Archives write offset tables that are missing, empty or wrong, and lose the delimiter at the end; so items
are followed by their lengths, and tables are asked last.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import iter_unpack, unpack_from

from pydicom import Dataset

from client.dicom.dataset.header import binary
from client.dicom.outcomes import Quarantined, Reason

ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")
"""How a frame begins in JPEG and JPEG-LS, in JPEG 2000, and in a JPEG 2000 file."""


def end_of_items(data: bytes, start: int) -> int:
    """Where the items that begin at ``start`` end, before their delimiter; at most the end of the data."""
    position = start
    while data[position : position + 4] == ITEM and position + 8 <= len(data):
        position += 8 + int(unpack_from("<L", data, position + 4)[0])
    return min(position, len(data))


def encoded_frames(dataset: Dataset, value: bytes, count: int) -> list[bytes]:
    """The encoded frames, each in one piece.

    Args:
        dataset: For its Extended Offset Table (7FE0,0001).
        value: Pixel Data (7FE0,0010): a basic offset table, then fragments.
        count: How many frames there should be.

    Raises:
        Quarantined: truncated where there are fewer, inconsistent where there are more.
    """
    table, fragments = _fragments(value)
    firsts = _first_fragments(dataset, table, fragments, count)
    ends = [*firsts[1:], len(fragments)]
    pieces = [fragment for _, fragment in fragments]
    return [
        pieces[first] if end == first + 1 else b"".join(pieces[first:end])
        for first, end in zip(firsts, ends, strict=True)
    ]


def _fragments(value: bytes) -> tuple[bytes, list[tuple[int, bytes]]]:
    """The basic offset table, and each fragment behind the offset at which that table would name it."""
    found: list[tuple[int, bytes]] = []
    position = 0
    while value[position : position + 4] == ITEM and position + 8 <= len(value):
        (length,) = unpack_from("<L", value, position + 4)
        if position + 8 + length > len(value):
            raise Quarantined(Reason.truncated, "the last fragment is cut off")
        found.append((position, value[position + 8 : position + 8 + length]))
        position += 8 + length
    if value[position : position + 4] not in {DELIMITER, b""}:
        raise Quarantined(Reason.inconsistent, "something else than fragments lies in the pixel data")
    table = b""
    if found and not found[0][1].startswith(STARTS):  # some leave out even the empty table
        table = found.pop(0)[1]
    base = found[0][0] if found else 0
    return table, [(position - base, fragment) for position, fragment in found if fragment]


def _first_fragments(
    dataset: Dataset, table: bytes, fragments: Sequence[tuple[int, bytes]], count: int
) -> list[int]:
    """The index of each frame's first fragment."""
    starts = [index for index, (_, fragment) in enumerate(fragments) if fragment.startswith(STARTS)]
    if len(fragments) == count and len(starts) in {0, count}:
        return list(range(count))
    if not starts and count == 1 and fragments:
        return [0]
    if not starts:
        starts = _from_tables(dataset, table, fragments)
    if len(starts) == count and starts[0] == 0:
        return starts
    found = len(starts) or len(fragments)
    reason = Reason.truncated if found < count else Reason.inconsistent
    raise Quarantined(reason, f"{found} frames are there, and the header speaks of {count}")


def _from_tables(dataset: Dataset, table: bytes, fragments: Sequence[tuple[int, bytes]]) -> list[int]:
    """What the extended or the basic offset table says, or [] where it names no fragments."""
    extended = binary(dataset, "ExtendedOffsetTable") or b""
    places = {offset: index for index, (offset, _) in enumerate(fragments)}
    for content, form in ((extended, "<Q"), (table, "<L")):
        if content and len(content) % (8 if form == "<Q" else 4) == 0:
            named = [places.get(offset, -1) for (offset,) in iter_unpack(form, content)]
            if -1 not in named and named == sorted(set(named)):
                return named
    return []
