"""Tables that stored values go through on their way to the screen: modality and VOI LUTs, palettes.

A table is applied to every stored value that there can be, once; the picture then takes its values from that.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import unpack
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut

from client.dicom.dataset.header import binary, holds, items, numbers
from client.dicom.decoding.layout import Layout
from client.dicom.decoding.luminance import luminance
from client.dicom.outcomes import Quarantined, Reason

Values = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """An item of Modality LUT Sequence (0028,3000) or VOI LUT Sequence (0028,3010).

    Attributes:
        entries: What values become: uint8 or uint16, at most ``2**bits - 1``.
        first: The value that becomes the first entry; those below do too, those beyond the last become that.
        bits: Of an entry.
    """

    entries: Values
    first: int
    bits: int


def table_of(dataset: Dataset, keyword: str, signed: bool, big_endian: bool) -> Table | None:
    """The first usable table of the sequence ``keyword``, or None.

    Args:
        dataset: Its LUT Descriptor (0028,3002) and LUT Data (0028,3006).
        keyword: Of the sequence.
        signed: Whether values that go in may be negative.
        big_endian: Byte order of data in bytes.
    """
    for item in items(dataset, keyword)[:1]:
        return _table(item, "LUTDescriptor", "LUTData", signed, big_endian)
    return None


def _table(dataset: Dataset, descriptor: str, data: str, signed: bool, big_endian: bool) -> Table | None:
    """The table that two elements of ``dataset`` make, or None where they make none."""
    order = ">" if big_endian else "<"
    stated, raw = numbers(dataset, descriptor), binary(dataset, descriptor) or b""
    if stated is None and len(raw) == 6:  # words of unknown sign, which stay bytes
        stated = unpack(f"{order}3H", raw)
    if stated is None or len(stated) != 3 or not 1 <= stated[2] <= 16:
        return None
    length, first, bits = (int(value) for value in stated)
    length = length % 2**16 or 2**16  # 0 is the standard's way of writing 65536 in 16 bits
    entries = _entries(dataset, data, length, order)
    if len(entries) == 0:
        return None
    if entries.max() >= 2**bits:  # more bits than it says
        bits = 16
    kind = np.uint8 if bits <= 8 else np.uint16
    return Table(entries.astype(kind), first - 2**16 if signed and first >= 2**15 else first, bits)


def _entries(dataset: Dataset, keyword: str, length: int, order: str) -> Values:
    """The data of a table as numbers: words, or bytes two to a word where there are half as many."""
    data = binary(dataset, keyword)
    if data is None:
        words = np.array(numbers(dataset, keyword) or (), dtype=np.float64)[:length]
        return np.clip(words, 0, 2**16 - 1)
    if len(data) <= length + 1:
        return np.frombuffer(data, np.uint8)[:length]
    return np.frombuffer(data, f"{order}u2", len(data) // 2)[:length]


def looked_up(values: Values, table: Table, slope: float = 1.0, intercept: float = 0.0) -> Values:
    """``table`` at slope * value + intercept, of the values' shape.

    Args:
        values: Integers of any kind, or floating point.
        table: Where to look.
        slope: Of what the table is made for, as in :class:`~client.dicom.pixels.Display`.
        intercept: See ``slope``.
    """

    def found(domain: Values) -> Values:
        place = np.rint(np.nan_to_num(domain.astype(np.float64)) * slope + intercept) - table.first
        entries: Values = table.entries[np.clip(place, 0, len(table.entries) - 1).astype(np.intp)]
        return entries

    if values.dtype.kind == "f" or values.dtype.itemsize > 2:
        return found(values)
    unsigned = np.dtype(f"u{values.dtype.itemsize}")
    everything = np.arange(2 ** (8 * values.dtype.itemsize), dtype=unsigned).view(values.dtype)
    shown: Values = found(everything)[values.view(unsigned)]
    return shown


def palette_luminance(values: Values, dataset: Dataset, layout: Layout, big_endian: bool) -> Values:
    """Luminance of palette colours (PS3.3 C.7.9), uint8 for up to 8 bits of index, else uint8 or uint16.

    Args:
        values: (N, H, W) indices.
        dataset: Its Red, Green and Blue Palette Color Lookup Tables, plain or segmented.
        layout: Of the values.
        big_endian: Byte order of tables in bytes.

    Raises:
        Quarantined: values, where the palette cannot be read.
    """
    if layout.allocated > 16:
        raise Quarantined(Reason.values, "a palette for more than 16 bits")
    everything = np.arange(2**layout.bits, dtype=np.dtype(f"u{values.dtype.itemsize}"))
    colours = _segmented(dataset, everything)
    if colours is None:
        colours = _plain(dataset, everything, big_endian)
    # Some write words of 8 bits and say 16; a palette that dark would not be a palette.
    shades = luminance(colours, 8 if colours.max() < 256 else 16)
    if layout.bits <= 8 and shades.dtype == np.uint16:  # no more shades than indices, so bytes will do
        shades = np.rint(shades / 257).astype(np.uint8)
    shown: Values = shades[values.view(everything.dtype)]
    return shown


def _plain(dataset: Dataset, everything: Values, big_endian: bool) -> Values:
    """(n, 3) colours of each index by the three plain tables."""
    channels = []
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTable"
        table = _table(dataset, f"{name}Descriptor", f"{name}Data", False, big_endian)
        if table is None:
            raise Quarantined(Reason.values, "the palette cannot be read")
        channels.append(looked_up(everything, table).astype(np.uint16))
    return np.stack(channels, axis=-1)


def _segmented(dataset: Dataset, everything: Values) -> Values | None:
    """(n, 3) colours of each index by segmented tables (PS3.3 C.7.9.2), or None where there are none."""
    if not holds(dataset, "SegmentedRedPaletteColorLookupTableData"):
        return None
    try:
        colours: Values = apply_color_lut(everything, dataset)
    # pydicom raises what its reading of a broken table runs into: ValueError, struct.error, IndexError, ...
    except Exception:  # noqa: BLE001  coded at the decoder's edge
        raise Quarantined(Reason.values, "the palette cannot be read") from None
    return colours[..., :3].astype(np.uint16)
