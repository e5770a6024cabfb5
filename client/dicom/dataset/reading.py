"""From the bytes of one file to its data set, whatever the bytes are.

Invariants:

* Nothing but :class:`~client.dicom.outcomes.Quarantined` is raised.
* A small file cannot ask for much memory: what is deflated is inflated up to a limit, before pydicom sees it.
* Pixels are found by following the lengths of their items, so a lost delimiter does not lose the picture,
  and are not decoded; what lies behind them (padding, signatures) is left away.

``text``, ``number`` and the other accessors of :mod:`client.dicom.dataset.header` are for all that asks the
data set for a value later, because pydicom converts values only then.
"""

from __future__ import annotations

import zlib
from io import BytesIO
from struct import unpack_from

from pydicom import Dataset
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

from client.dicom.dataset.header import binary, holds, items, number, numbers, quiet, text, texts, whole
from client.dicom.decoding.fragments import end_of_items
from client.dicom.outcomes import Quarantined, Reason

__all__ = [
    "MAX_ELEMENTS",
    "MAX_INFLATED_BYTES",
    "MAX_OBJECT_BYTES",
    "binary",
    "holds",
    "items",
    "number",
    "numbers",
    "read",
    "text",
    "texts",
    "whole",
]

MAX_OBJECT_BYTES = 2**30
"""Largest file that is read whole, in bytes."""

MAX_INFLATED_BYTES = 2**28
"""Largest data set in the deflated transfer syntax, in bytes, which may be a thousandth of that on disk."""

MAX_ELEMENTS = 2**16
"""Most elements of a data set, not counting those within sequences; real ones have some hundreds."""

_PIXELS = {0x7FE00008: "OF", 0x7FE00009: "OD", 0x7FE00010: "OW"}
"""Elements that hold pixels, with the VR of each where the file does not say it."""

_UNDEFINED = 0xFFFFFFFF
_EXPLICIT_VRS = frozenset(one.value.encode() for one in VR if len(one.value) == 2)
_FIRST_GROUPS = {0x0000, 0x0002, 0x0004, 0x0008}


def read(data: bytes) -> Dataset:
    """The data set of one file, with its file meta information (group 2) as ``file_meta``.

    Args:
        data: With or without preamble and file meta information, in any transfer syntax. The transfer syntax
            that comes back is the one that was found, where the file states none or a wrong one.

    Raises:
        Quarantined: empty, not_dicom, header_broken or too_large.
    """
    if not data:
        raise Quarantined(Reason.empty)
    if len(data) > MAX_OBJECT_BYTES:
        raise Quarantined(Reason.too_large, f"a file of more than {MAX_OBJECT_BYTES} bytes")
    marked = data[128:132] == b"DICM"
    start = 132 if marked else 0
    if not marked and not _could_begin(data):
        raise Quarantined(Reason.not_dicom)
    try:
        with quiet():
            dataset = _data_set(data, start)
            if not marked and not _is_object(dataset):
                raise Quarantined(Reason.not_dicom)
            _check_whole(dataset)
            return dataset
    except Quarantined:
        raise
    # The edge of pydicom: on broken files it raises some twenty types, struct.error, RecursionError,
    # MemoryError and NotImplementedError among them. Their words may quote values and are dropped.
    except Exception:  # noqa: BLE001  coded here
        raise Quarantined(Reason.header_broken if marked else Reason.not_dicom) from None


def _could_begin(data: bytes) -> bool:
    """Whether a file without preamble begins with an element that a data set may begin with."""
    if len(data) < 8:
        return False
    groups = {unpack_from("<H", data)[0], unpack_from(">H", data)[0]}
    if not groups & _FIRST_GROUPS:
        return False
    lengths = (int(unpack_from(order + "L", data, 4)[0]) for order in "<>")
    return data[4:6] in _EXPLICIT_VRS or min(lengths) < len(data)


def _is_object(dataset: Dataset) -> bool:
    """Whether what was found without a preamble is an object: it has a class, or a modality and a name."""
    sop_class = text(dataset, "SOPClassUID") or ""
    if sop_class.replace(".", "").isdigit():
        return True
    named = any(text(dataset, keyword) for keyword in ("SOPInstanceUID", "StudyInstanceUID", "StudyDate"))
    return named and (text(dataset, "Modality") or "").isalnum()


def _data_set(data: bytes, start: int) -> Dataset:
    """The data set behind a preamble of ``start`` bytes."""
    stream = BytesIO(data)
    stream.seek(start)
    group_2 = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    meta = FileMetaDataset(group_2)
    stated = text(meta, "TransferSyntaxUID")
    if stated == DeflatedExplicitVRLittleEndian:
        data = _inflated(data, stream.tell())
        stream = BytesIO(data)
    implicit, little = _encoding(data, stream.tell(), stated)
    dataset = _elements(stream, data, implicit, little)
    if stated in {None, ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian}:
        meta.TransferSyntaxUID = _syntax(implicit, little)
    dataset.file_meta = meta
    return dataset


def _inflated(data: bytes, start: int) -> bytes:
    """What is deflated from ``start`` on, up to ``MAX_INFLATED_BYTES``.

    Raises:
        Quarantined: too_large; header_broken where it ends too soon.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(memoryview(data)[start:], MAX_INFLATED_BYTES + 1)
    if len(inflated) > MAX_INFLATED_BYTES:
        raise Quarantined(Reason.too_large, f"inflated it has more than {MAX_INFLATED_BYTES} bytes")
    if not inflater.eof:
        raise Quarantined(Reason.header_broken, "what is deflated is cut off")
    return inflated


def _encoding(data: bytes, start: int, stated: str | None) -> tuple[bool, bool]:
    """Whether VRs are implicit and whether the first element is little endian, by what it looks like.

    The first element of a data set is of a low group, so of the two ways to read its group the one that
    gives the lower number is right.
    """
    if len(data) < start + 8:
        return stated == ImplicitVRLittleEndian, stated != ExplicitVRBigEndian
    little, big = unpack_from("<H", data, start)[0], unpack_from(">H", data, start)[0]
    is_little = stated != ExplicitVRBigEndian if little == big else little < big
    return data[start + 4 : start + 6] not in _EXPLICIT_VRS, is_little


def _syntax(implicit: bool, little: bool) -> UID:
    if not little:
        return ExplicitVRBigEndian
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian


def _elements(stream: BytesIO, data: bytes, implicit: bool, little: bool) -> Dataset:
    """All elements from the stream's position up to the pixels, and these."""
    seen: list[tuple[BaseTag, str | None, int]] = []
    count = 0

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal count
        count += 1
        if count > MAX_ELEMENTS:
            raise Quarantined(Reason.header_broken, "there are too many elements")
        if tag not in _PIXELS:
            return False
        seen.append((tag, vr, length))
        return True

    dataset = read_dataset(stream, implicit, little, stop_when=at_pixels)
    if not seen:
        return dataset
    tag, vr, length = seen[-1]
    start = stream.tell() + (12 if vr in EXPLICIT_VR_LENGTH_32 else 8)
    undefined = length == _UNDEFINED
    end = end_of_items(data, start) if undefined else start + length
    element = DataElement(
        tag,
        "OB" if undefined else vr or _PIXELS[tag],
        data[start:end],
        is_undefined_length=undefined,
        already_converted=True,
    )
    dataset[tag] = element
    return dataset


def _check_whole(dataset: Dataset) -> None:
    """Refuses an empty data set, and one whose last element is shorter than it says.

    Pixels that are cut off are the decoder's business.
    """
    tags = list(dataset.keys())
    if not tags:
        raise Quarantined(Reason.header_broken, "there is nothing behind the preamble")
    last: DataElement | RawDataElement = dataset.get_item(tags[-1])
    if not isinstance(last, RawDataElement) or last.length == _UNDEFINED:
        return
    if len(last.value or b"") < last.length:
        raise Quarantined(Reason.header_broken, "the file is cut off")
