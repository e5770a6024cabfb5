"""Stored values come out as they went in, in every syntax and number of bits that is read."""

from __future__ import annotations

import zlib
from struct import pack
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from client.dicom.decoding.stored import DEFLATED_FRAMES, ENCAPSULATED_NATIVE, stored_values
from tests.unit.dicom.making import COLOURS, NOISE, RAMP, an_object, encoded, frames_of, through_a_file

Values = NDArray[Any]


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_native_values_come_out_as_they_went_in(dtype: str, syntax: UID) -> None:
    values = np.random.default_rng(3).integers(-5, 100, (2, 3, 5)).astype(dtype)
    dataset = an_object(values)
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = values.astype(values.dtype.newbyteorder(">")).tobytes()
        if dtype[1] == "1":  # bytes in words: each pair changes places
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
            dataset["PixelData"].VR = "OW"
    np.testing.assert_array_equal(stored_values(through_a_file(dataset)).values, values)
    frames = frames_of(through_a_file(dataset))
    assert frames.dtype == (np.float32 if dtype[1] == "4" else dtype)
    assert frames.flags.c_contiguous


@pytest.mark.parametrize(("bits", "high_bit"), [(12, 11), (12, 15), (10, 11), (7, 6)])
@pytest.mark.parametrize("signed", [False, True])
def test_only_the_stored_bits_count(bits: int, high_bit: int, signed: bool) -> None:
    low = -(2 ** (bits - 1)) if signed else 0
    values = np.linspace(low, low + 2**bits - 1, 120).astype(int).reshape(2, 6, 10)
    word = (values % 2**bits) << (high_bit + 1 - bits)
    overlay = ~(((1 << bits) - 1) << (high_bit + 1 - bits)) & 0xFFFF  # everything else is set
    dataset = an_object((word | overlay).astype(np.uint16), BitsStored=bits, HighBit=high_bit)
    dataset.PixelRepresentation = int(signed)
    np.testing.assert_array_equal(frames_of(dataset), values)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
@pytest.mark.parametrize(
    ("values", "bits"),
    [
        (NOISE, 12),
        (NOISE * 16, 16),
        ((NOISE.astype(np.int16) - 2000), 16),
        ((NOISE.astype(np.int16) - 2000), 12),
        ((NOISE // 16).astype(np.uint8), 8),
        ((NOISE // 40).astype(np.uint8), 7),
        (COLOURS, 8),
    ],
    ids=["12", "16", "signed", "signed-12", "8", "7", "colours"],
)
def test_lossless_compressions_give_the_values_back(syntax: UID, values: Values, bits: int) -> None:
    dataset = an_object(values, "RGB" if values.ndim == 4 else "MONOCHROME2")
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.compress(syntax, generate_instance_uid=False)
    found = stored_values(through_a_file(dataset))
    np.testing.assert_array_equal(found.values, values)
    assert found.values.dtype == values.dtype


@pytest.mark.parametrize("signed", [True, False])
def test_the_headers_sign_counts_where_jpeg_2000_states_another(signed: bool) -> None:
    values = NOISE.astype(np.int16) - 2000 if signed else NOISE
    other = (values & 0x1FFF).astype(np.uint16) if signed else (values.astype(np.int16) << 3) >> 3
    dataset = an_object(other, BitsStored=13, HighBit=12)
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    dataset.PixelRepresentation = int(signed)
    np.testing.assert_array_equal(frames_of(dataset), values)


def packed(bits: Values) -> bytes:
    content = np.packbits(bits.ravel(), bitorder="little").tobytes()
    return content + b"\0" * (len(content) % 2)


def literal(content: bytes) -> bytes:
    """An RLE segment without runs (PS3.5 G.3.1)."""
    parts = [content[start : start + 128] for start in range(0, len(content), 128)]
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


@pytest.mark.parametrize("how", ["native", "deflated", "rle", "jpeg-2000"])
def test_single_bits_become_bytes(how: str) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (3, 37, 35)).astype(np.uint8)
    dataset = an_object(bits, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=packed(bits))
    if how == "deflated":
        deflate = [zlib.compressobj(9, zlib.DEFLATED, -15) for _ in bits]
        frames = [one.compress(packed(frame)) + one.flush() for one, frame in zip(deflate, bits, strict=True)]
        encoded(dataset, frames, DEFLATED_FRAMES)
    elif how == "rle":
        header = pack("<16L", 1, 64, *[0] * 14)
        frames = [header + literal(packed(frame)) for frame in bits]
        encoded(dataset, frames, RLELossless)
    elif how == "jpeg-2000":
        whole = an_object(bits)
        whole.compress(JPEG2000Lossless, generate_instance_uid=False)
        dataset.file_meta, dataset["PixelData"] = whole.file_meta, whole["PixelData"]
    np.testing.assert_array_equal(frames_of(dataset), bits)


def test_encapsulated_native_frames() -> None:
    dataset = encoded(an_object(NOISE), [frame.tobytes() for frame in NOISE], ENCAPSULATED_NATIVE)
    np.testing.assert_array_equal(frames_of(dataset), NOISE)


@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
def test_floating_point(keyword: str) -> None:
    values = np.array([[[0.5, -2.0], [np.nan, 1e300 if keyword[0] == "D" else 3.0]]])
    dataset = an_object(RAMP, Rows=2, Columns=2)
    del dataset.PixelData, dataset.PixelRepresentation, dataset.BitsStored
    setattr(dataset, keyword, values.astype("<f4" if keyword[0] == "F" else "<f8").tobytes())
    frames = frames_of(dataset)
    assert frames.dtype == np.float32
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(frames, values.astype(np.float32))


def test_large_integers_lose_less_than_a_millionth() -> None:
    values = np.array([[[0, 1, 2**24, 2**24 + 1, 2**32 - 1]]], dtype=np.uint32)
    frames = frames_of(an_object(values))
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames.astype(np.float64), values, rtol=6e-8)
    np.testing.assert_array_equal(frames[..., :3], values[..., :3])
