"""Stored pixel values of an object: decoded, and nothing else done to them (DICOM PS3.5 clause 8).

What another decoder gives for the same file can be compared with these, value by value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from client.dicom.dataset.header import text
from client.dicom.decoding.codecs import by_pixel, decode_codestream, decode_rle, inflated
from client.dicom.decoding.coding import Codestream, Coding
from client.dicom.decoding.fragments import ITEM, encoded_frames
from client.dicom.decoding.layout import Layout, layout_of
from client.dicom.outcomes import Quarantined, Reason

Values = NDArray[Any]

NATIVE = frozenset(
    {
        str(ImplicitVRLittleEndian),
        str(ExplicitVRLittleEndian),
        str(ExplicitVRBigEndian),
        str(DeflatedExplicitVRLittleEndian),
    }
)
"""Transfer syntaxes whose pixels are not encapsulated."""

DEFLATED_FRAMES, ENCAPSULATED_NATIVE = "1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.1.98"
CODESTREAMS = frozenset(
    f"1.2.840.10008.1.2.4.{number}" for number in (*range(50, 67), 70, 80, 81, *range(90, 94), 201, 202, 203)
)
"""Transfer syntaxes of the JPEG family; which of them a frame really has is said by its codestream."""


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """Stored values.

    Attributes:
        values: (N, H, W) or (N, H, W, 3), of the type that Bits Allocated and Pixel Representation ask for,
            in the machine's byte order; perhaps read-only.
        photometric: What they are now: the header's MONOCHROME1, MONOCHROME2 or PALETTE COLOR; RGB; YBR_FULL.
        layout: What the header says of them.
    """

    values: Values
    photometric: str
    layout: Layout


def stored_values(dataset: Dataset) -> Stored:
    """All frames as they are stored.

    Raises:
        Quarantined: no_pixels, truncated, inconsistent, too_large, syntax, undecodable or values.
    """
    layout = layout_of(dataset)
    element = dataset.get_item(layout.keyword)
    content, vr = bytes(element.value or b""), element.VR
    if not content:
        raise Quarantined(Reason.no_pixels, "the pixel data are empty")
    syntax = text(getattr(dataset, "file_meta", Dataset()), "TransferSyntaxUID") or str(
        ExplicitVRLittleEndian
    )
    if content.startswith(ITEM) and (syntax not in NATIVE or getattr(element, "is_undefined_length", True)):
        return _encapsulated(dataset, content, syntax, layout)
    if syntax not in NATIVE and syntax not in CODESTREAMS:
        raise Quarantined(Reason.syntax)
    # Some programs decompress pixels and leave the transfer syntax as it was.
    big_endian = syntax == ExplicitVRBigEndian
    if big_endian and vr == "OW" and layout.allocated <= 8:
        content = np.frombuffer(content, ">u2", len(content) // 2).astype("<u2").tobytes()
    return _native(content, layout, ">" if big_endian else "<")


def _native(content: bytes, layout: Layout, order: str) -> Stored:
    """The values of pixel data that are not encapsulated."""
    halved = layout.photometric == "YBR_FULL_422" and len(content) < layout.size
    expected = -(-layout.size * layout.allocated // 8)
    expected = expected * 2 // 3 if halved else expected
    if len(content) < expected:
        raise Quarantined(Reason.truncated, "there are fewer pixels than the header says")
    if len(content) - expected > max(1, expected // layout.frames - 1):
        raise Quarantined(Reason.inconsistent, "there are more frames than the header says")
    if layout.allocated == 1:
        bits = np.unpackbits(np.frombuffer(content, np.uint8), count=layout.size, bitorder="little")
        return Stored(by_pixel(bits, layout, layout.frames), layout.photometric, layout)
    if halved:
        return Stored(_widened(np.frombuffer(content, np.uint8, expected), layout), "YBR_FULL", layout)
    code = "f" if layout.keyword != "PixelData" else "u"
    words = np.frombuffer(content, f"{order}{code}{layout.dtype.itemsize}", layout.size)
    words = words.astype(words.dtype.newbyteorder("="), copy=False)
    if code == "u":
        words = significant(words, layout.bits, layout.high_bit, layout.signed)
    photometric = "YBR_FULL" if layout.photometric == "YBR_FULL_422" else layout.photometric
    return Stored(by_pixel(words, layout, layout.frames), photometric, layout)


def _widened(values: Values, layout: Layout) -> Values:
    """(N, H, W, 3): two pixels share their colours, stored as Y Y Cb Cr (PS3.3 C.7.6.3.1.2, YBR_FULL_422)."""
    pairs = values.reshape(-1, 4)
    wide = np.empty((len(pairs), 2, 3), np.uint8)
    wide[..., 0] = pairs[:, :2]
    wide[..., 1:] = pairs[:, None, 2:]
    return wide.reshape(layout.frames, layout.rows, layout.columns, 3)


def significant(words: Values, bits: int, high_bit: int, signed: bool) -> Values:
    """Values of the stored bits alone; what else lies in a word, such as an old overlay, is masked off.

    Args:
        words: Unsigned.
        bits: Bits Stored.
        high_bit: The highest of them, 0 being the lowest of a word.
        signed: Whether it is the sign.
    """
    width = 8 * words.dtype.itemsize
    kind = np.dtype(f"{'i' if signed else 'u'}{words.dtype.itemsize}")
    values = words.view(kind)
    if bits == width or words.size == 0:
        return values
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if high_bit == bits - 1 and values.min() >= least and values.max() <= most:
        return values  # nothing else is there: the usual case needs no copy
    masked: Values = np.left_shift(words, width - 1 - high_bit).view(kind) >> (width - bits)
    return masked


def _encapsulated(dataset: Dataset, content: bytes, syntax: str, layout: Layout) -> Stored:
    """The values of encapsulated pixel data, frame by frame."""
    known = {*NATIVE, *CODESTREAMS, str(RLELossless), DEFLATED_FRAMES, ENCAPSULATED_NATIVE}
    if syntax not in known or layout.keyword != "PixelData":
        raise Quarantined(Reason.syntax)
    frames = encoded_frames(dataset, content, layout.frames)
    shape = (layout.frames, layout.rows, layout.columns, 3)[: 3 if layout.samples == 1 else 4]
    values, photometric = np.empty(0, layout.dtype), layout.photometric
    for index, frame in enumerate(frames):
        decoded, photometric = _frame(frame, syntax, layout)
        if index == 0:  # not before one frame has turned out to be of the size that the header states
            values = np.empty(shape, layout.dtype)
        values[index] = decoded
    return Stored(values, photometric, layout)


def _frame(frame: bytes, syntax: str, layout: Layout) -> tuple[Values, str]:
    """One frame's values, and what they are."""
    if syntax in {DEFLATED_FRAMES, ENCAPSULATED_NATIVE}:
        one = replace(layout, frames=1)
        # Twice what there should be is enough to see that there is more.
        limit = 2 * one.size * one.dtype.itemsize + 2
        native = _native(inflated(frame, limit) if syntax == DEFLATED_FRAMES else frame, one, "<")
        return native.values[0], native.photometric
    if syntax == RLELossless:
        words = decode_rle(frame, layout)
        photometric = "YBR_FULL" if layout.photometric == "YBR_FULL_422" else layout.photometric
        return significant(words, layout.bits, layout.high_bit, layout.signed), photometric
    values, stream = decode_codestream(frame, layout)
    return _as_stated(values, stream, layout), _components(stream, layout)


def _as_stated(values: Values, stream: Codestream, layout: Layout) -> Values:
    """Decoded values with the sign that the header states, which most codestreams cannot.

    JPEG 2000 can, and some writers state another there than in the header: the header is right, for the
    same bits then make a picture.
    """
    container = 8 * values.dtype.itemsize
    if stream.coding in {Coding.jpeg_ls, Coding.jpeg_2000}:
        if stream.signed == layout.signed:
            return values
        bits = min(stream.precision, container)
    elif layout.bits > container:  # fewer bits than stored: the sign's is not among them
        return values
    else:
        bits = layout.bits
    return significant(values.view(f"u{values.dtype.itemsize}"), bits, bits - 1, layout.signed)


def _components(stream: Codestream, layout: Layout) -> str:
    """What a pixel's values are after decoding; a lossy codestream knows it better than the header."""
    if layout.samples == 1:
        return layout.photometric
    if stream.coding == Coding.jpeg and stream.components:
        return stream.components
    # The decoders undo JPEG 2000's own colour transforms.
    return "YBR_FULL" if layout.photometric in {"YBR_FULL", "YBR_FULL_422"} else "RGB"
