"""Decoding: stored values come out as they went in, display facts as the standard has them, the rest coded."""

from __future__ import annotations

import zlib
from io import BytesIO
from pathlib import Path
from struct import pack
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, Sequence, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    MPEG2MPML,
    RLELossless,
    SegmentationStorage,
)

from client.dicom import layout
from client.dicom.decoding import decode, has_pixels
from client.dicom.display import brightness
from client.dicom.outcomes import Quarantined, Reason
from client.dicom.pixels import Window
from client.dicom.reading import read
from client.dicom.stored import DEFLATED_FRAMES, ENCAPSULATED_NATIVE, stored_values

Values = NDArray[Any]
RAMP = np.arange(256, dtype=np.uint16).reshape(1, 16, 16)
NOISE = np.random.default_rng(5).integers(0, 4000, (3, 40, 36)).astype(np.uint16)
COLOURS = np.random.default_rng(6).integers(0, 256, (2, 34, 36, 3)).astype(np.uint8)


def an_object(values: Values, photometric: str = "MONOCHROME2", **attributes: Any) -> Dataset:
    """An object of frames (N, H, W) or (N, H, W, 3), not compressed."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = "1.2", "1.3"
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = CTImageStorage, UID("2.25.7"), "XA"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = values.shape[:3]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1 if values.ndim == 3 else 3, photometric
    bits = 8 * values.dtype.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    if values.ndim == 4:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = values.astype(values.dtype.newbyteorder("<")).tobytes() + b"\0" * (values.nbytes % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def encoded(dataset: Dataset, frames: list[bytes], syntax: str = JPEGBaseline8Bit) -> Dataset:
    """The object with these encoded frames, and a basic offset table."""
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    return dataset


def through_a_file(dataset: Dataset) -> Dataset:
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return read(stream.getvalue())


def jpeg(frame: Values, **options: Any) -> bytes:
    stream = BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


def reason_of(dataset: Dataset) -> Reason:
    with pytest.raises(Quarantined) as caught:
        decode(dataset)
    return caught.value.reason


def frames_of(dataset: Dataset) -> Values:
    return decode(dataset).frames


# Stored values


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


# Colours


LUMINANCE = np.rint(COLOURS @ np.array([0.299, 0.587, 0.114])).astype(int)


@pytest.mark.parametrize("by_plane", [False, True])
def test_colours_become_luminance(by_plane: bool) -> None:
    dataset = an_object(COLOURS, "RGB")
    if by_plane:
        dataset.PlanarConfiguration, dataset.PixelData = 1, np.moveaxis(COLOURS, -1, 1).tobytes()
    pixels = decode(dataset)
    assert pixels.frames.dtype == np.uint8
    assert pixels.display.looked_up
    assert np.abs(pixels.frames.astype(int) - LUMINANCE).max() <= 1
    assert brightness(np.array([[[0, 255]]], np.uint8), pixels.display).tolist() == [[[0, 1]]]


def test_sixteen_bit_colours_stay_sixteen_bits() -> None:
    frames = frames_of(an_object(COLOURS.astype(np.uint16) * 257, "RGB"))
    assert frames.dtype == np.uint16
    assert np.abs(frames / 257 - LUMINANCE).max() < 1
    wide = frames_of(an_object(COLOURS.astype(np.uint32) * 0x01010101, "RGB"))
    np.testing.assert_array_equal(wide, frames)


@pytest.mark.parametrize("length", ["halved", "full"])
def test_luminance_is_taken_from_ybr_as_it_is(length: str) -> None:
    ybr = COLOURS.copy()
    ybr[:, :, 1::2, 1:] = ybr[:, :, ::2, 1:]  # two pixels share their colours
    dataset = an_object(ybr, "YBR_FULL_422")  # and some writers do not let them, whatever they say
    if length == "halved":
        pairs = ybr.reshape(-1, 2, 3)
        dataset.PixelData = np.stack(
            [pairs[:, 0, 0], pairs[:, 1, 0], pairs[:, 0, 1], pairs[:, 0, 2]], 1
        ).tobytes()
    found = stored_values(dataset)
    np.testing.assert_array_equal(found.values, ybr)
    assert found.photometric == "YBR_FULL"
    np.testing.assert_array_equal(frames_of(dataset), ybr[..., 0])


@pytest.mark.parametrize("stated", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize("true", ["RGB", "YBR_FULL"])
def test_a_jpeg_that_says_what_its_components_are_is_believed(stated: str, true: str) -> None:
    down, across = np.mgrid[0:24, 0:32] * 8
    smooth = np.stack([down, across, 255 - down], axis=-1).astype(np.uint8)
    frame = jpeg(smooth, keep_rgb=True, subsampling=0) if true == "RGB" else jpeg(smooth, subsampling=0)
    dataset = encoded(an_object(smooth[None], stated), [frame])
    assert np.abs(frames_of(dataset)[0] - smooth @ np.array([0.299, 0.587, 0.114])).max() < 3


def test_a_palette_is_looked_up() -> None:
    dataset = an_object(RAMP.astype(np.uint8), "PALETTE COLOR")
    for colour, values in {"Red": 255, "Green": 0, "Blue": 0}.items():
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [128, 64, 16])
        entries = (np.linspace(0, values, 128).astype(int) * 257).astype("<u2")
        setattr(dataset, f"{colour}PaletteColorLookupTableData", entries.tobytes())
    pixels = decode(through_a_file(dataset))
    expected = 0.299 * np.linspace(0, 255, 128)[np.clip(RAMP.astype(int) - 64, 0, 127)]
    assert pixels.frames.dtype == np.uint8
    assert pixels.display.looked_up
    assert np.abs(pixels.frames - expected).max() <= 1


def test_a_segmented_palette_is_looked_up() -> None:
    dataset = an_object(RAMP.astype(np.uint8), "PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        segments = pack("<6H", 0, 1, 0, 1, 255, 65535)  # one value, then a line of 255 up to the greatest
        setattr(dataset, f"Segmented{colour}PaletteColorLookupTableData", segments)
    assert np.abs(frames_of(dataset).astype(int) - RAMP).max() <= 1


# How they are shown


def table(entries: Values, first: int = 0, bits: int = 8) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return Sequence([item])


def test_monochrome1_is_inverted() -> None:
    assert decode(an_object(RAMP, "MONOCHROME1")).display.inverted
    assert not decode(an_object(RAMP)).display.inverted


def test_rescaling_is_written_down_and_not_done() -> None:
    pixels = decode(an_object(RAMP, RescaleSlope=2, RescaleIntercept=-1024))
    assert (pixels.display.slope, pixels.display.intercept) == (2, -1024)
    np.testing.assert_array_equal(pixels.frames, RAMP)
    assert decode(an_object(RAMP, RescaleSlope=0)).display.slope == 1


HU = {"RescaleSlope": 1, "RescaleIntercept": -1024}
OWN = {"WindowCenter": [10, 20], "WindowWidth": [30, 40]}


@pytest.mark.parametrize(
    ("attributes", "window"),
    [
        ({"Modality": "CT", **HU, **OWN}, Window(40, 400)),
        ({"Modality": "CT", **OWN}, Window(10, 30)),  # not in Hounsfield units
        ({"Modality": "CT", **HU, **OWN, "RescaleType": "MGML"}, Window(10, 30)),
        ({"Modality": "MR", **OWN}, None),
        ({"Modality": "PT", **OWN}, None),
        ({"Modality": "DX", **OWN}, Window(10, 30)),
        ({"Modality": "DX", **OWN, "VOILUTFunction": "SIGMOID"}, Window(10, 30, "sigmoid")),
        ({"Modality": "DX", "WindowCenter": 5, "WindowWidth": 0}, None),
        ({"Modality": "DX"}, None),
        ({"Modality": "", **OWN}, Window(10, 30)),
    ],
)
def test_each_modality_has_its_default(attributes: dict[str, Any], window: Window | None) -> None:
    dataset = an_object(RAMP, **attributes)
    assert decode(dataset).display.window == window
    assert not decode(dataset).display.looked_up
    if "WindowCenter" in attributes and window is not None:
        own = decode(dataset, own_window=True).display.window
        assert own is not None
        assert (own.centre, own.width) == (10, 30)


def test_a_modality_table_is_looked_up_and_replaces_rescaling() -> None:
    dataset = an_object(RAMP, RescaleSlope=3, ModalityLUTSequence=table(np.arange(100)[::-1] * 7, 50, 16))
    pixels = decode(dataset)
    np.testing.assert_array_equal(pixels.frames, 7 * (99 - np.clip(RAMP.astype(int) - 50, 0, 99)))
    assert (pixels.display.slope, pixels.display.looked_up) == (1, False)


def test_a_voi_table_is_looked_up_only_where_the_files_own_counts() -> None:
    values = (RAMP.astype(int) - 100).astype(np.int16)
    dataset = an_object(values, "MONOCHROME1", RescaleSlope=2, RescaleIntercept=-10)
    dataset.VOILUTSequence = table(np.linspace(255, 0, 200).astype(int), -50 % 2**16, 8)
    expected = np.linspace(255, 0, 200).astype(int)[np.clip(values * 2 - 10 + 50, 0, 199)]
    pixels = decode(dataset)
    np.testing.assert_array_equal(pixels.frames, expected)
    assert pixels.display.looked_up
    assert pixels.display.inverted
    np.testing.assert_allclose(brightness(pixels.frames, pixels.display), 1 - expected / 255, atol=1e-6)
    dataset.Modality = "MR"
    np.testing.assert_array_equal(decode(dataset).frames, values)
    np.testing.assert_array_equal(decode(dataset, own_window=True).frames, expected)


@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
def test_a_broken_table_is_no_table(keyword: str) -> None:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [256, 0, 99], [1, 2]
    np.testing.assert_array_equal(frames_of(an_object(RAMP, **{keyword: Sequence([item])})), RAMP)


PADDED = np.array([[[-2000, -2000, -900, 50, 300, 20]]], dtype=np.int16)


@pytest.mark.parametrize(
    ("attributes", "filled"),
    [
        ({"PixelPaddingValue": -2000}, -900),
        ({"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -900}, 20),
        ({"PixelPaddingValue": -900, "PixelPaddingRangeLimit": -2000}, 20),
        ({"PixelPaddingValue": -2000, "PhotometricInterpretation": "MONOCHROME1"}, 300),
        ({"PixelPaddingValue": -2000, "RescaleSlope": -1}, 300),
        ({"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": 300}, None),  # nothing would be left
        ({"PixelPaddingValue": 7}, None),
        ({}, None),
    ],
)
def test_padding_is_as_dark_as_the_darkest_that_is_seen(
    attributes: dict[str, Any], filled: int | None
) -> None:
    dataset = an_object(PADDED, **attributes)
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        if keyword in dataset:
            dataset[keyword].VR = "SS"
    hidden = PADDED <= (-900 if "PixelPaddingRangeLimit" in attributes else -2000)
    expected = PADDED if filled is None else np.where(hidden, filled, PADDED)
    np.testing.assert_array_equal(frames_of(dataset), expected)


def test_padding_that_lost_its_sign_is_recognised() -> None:
    dataset = an_object(PADDED)
    dataset.add_new("PixelPaddingValue", "US", -2000 % 2**16)
    assert frames_of(dataset).min() == -900


def functional_groups(slopes: list[float], shared: bool = False) -> dict[str, Any]:
    groups = []
    for slope in slopes:
        values, window, group = Dataset(), Dataset(), Dataset()
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = slope, 10, "US"
        window.WindowCenter, window.WindowWidth = 100, 50
        group.PixelValueTransformationSequence = Sequence([values])
        group.FrameVOILUTSequence = Sequence([window])
        groups.append(group)
    name = "SharedFunctionalGroupsSequence" if shared else "PerFrameFunctionalGroupsSequence"
    return {"SOPClassUID": EnhancedMRImageStorage, name: Sequence(groups)}


def test_rescaling_of_enhanced_objects_is_found_and_done_where_frames_differ() -> None:
    shared = decode(an_object(NOISE, **functional_groups([2.0], shared=True)))
    assert (shared.display.slope, shared.display.intercept) == (2, 10)
    assert shared.display.window == Window(100, 50)
    alike = decode(an_object(NOISE, **functional_groups([2.0, 2.0, 2.0])))
    assert (alike.display.slope, alike.frames.dtype) == (2, np.uint16)
    different = decode(an_object(NOISE, **functional_groups([1.0, 2.0, 0.5])))
    assert different.display.slope == 1
    assert different.frames.dtype == np.float32
    np.testing.assert_allclose(different.frames, NOISE * np.array([1, 2, 0.5])[:, None, None] + 10)


def test_labels_of_a_segmentation_are_left_alone() -> None:
    labels = np.array([[[0, 1, 2, 3]]], dtype=np.uint8)
    dataset = an_object(labels, "PALETTE COLOR", SOPClassUID=SegmentationStorage, PixelPaddingValue=0)
    pixels = decode(dataset)
    np.testing.assert_array_equal(pixels.frames, labels)
    assert not pixels.display.looked_up


# What real archives do to encapsulated pixels


FRAMES = [jpeg(frame) for frame in (NOISE // 16).astype(np.uint8)]


def item(content: bytes) -> bytes:
    content += b"\0" * (len(content) % 2)
    return b"\xfe\xff\x00\xe0" + pack("<L", len(content)) + content


def in_items(*parts: bytes, **attributes: Any) -> Dataset:
    dataset = encoded(an_object((NOISE // 16).astype(np.uint8), **attributes), FRAMES)
    dataset["PixelData"].value = b"".join(parts)
    return dataset


HALVES = [part for frame in FRAMES for part in (item(frame[:200]), item(frame[200:]))]
OFFSETS = np.cumsum([0] + [len(item(frame)) for frame in FRAMES])


@pytest.mark.parametrize(
    "parts",
    [
        [item(b""), *map(item, FRAMES)],
        [item(pack("<3L", *OFFSETS[:3])), *map(item, FRAMES)],
        [item(pack("<3L", 4, 999, 2)), *map(item, FRAMES)],
        [item(pack("<2L", 0, 0)), *map(item, FRAMES)],
        [*map(item, FRAMES)],
        [item(b""), *HALVES],
        [item(b""), *map(item, FRAMES), item(b"")],
        [item(b""), *map(item, FRAMES), b"\xfe\xff\xdd\xe0\0\0\0\0"],
    ],
    ids=[
        "empty-table",
        "table",
        "wrong-table",
        "short-table",
        "no-table",
        "halves",
        "empty-end",
        "delimiter",
    ],
)
def test_frames_are_found_whatever_the_offset_table_says(parts: list[bytes]) -> None:
    expected = np.stack([np.asarray(Image.open(BytesIO(frame))) for frame in FRAMES])
    np.testing.assert_array_equal(frames_of(in_items(*parts)), expected)


def test_offset_tables_are_followed_where_nothing_else_tells_frames_apart() -> None:
    dataset = an_object(NOISE)
    dataset.compress(RLELossless, generate_instance_uid=False)
    from pydicom.encaps import generate_frames

    frames = list(generate_frames(dataset.PixelData, number_of_frames=3))
    cut = [part for frame in frames for part in (frame[:100], frame[100:])]
    starts = np.cumsum([0] + [len(item(part)) for part in cut])[:-1:2]
    dataset["PixelData"].value = item(pack("<3L", *starts)) + b"".join(map(item, cut))
    np.testing.assert_array_equal(frames_of(dataset), NOISE)
    dataset["PixelData"].value = item(b"") + b"".join(map(item, cut))
    assert reason_of(dataset) is Reason.inconsistent
    dataset.ExtendedOffsetTable = pack("<3Q", *starts)
    np.testing.assert_array_equal(frames_of(dataset), NOISE)


def test_an_extended_offset_table_is_read() -> None:
    dataset = encoded(an_object((NOISE // 16).astype(np.uint8)), FRAMES)
    dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = encapsulate_extended(
        FRAMES
    )
    assert len(frames_of(dataset)) == 3


def test_a_number_of_frames_that_is_not_that_of_the_fragments_is_refused() -> None:
    parts = [item(b""), *map(item, FRAMES)]
    assert reason_of(in_items(*parts, NumberOfFrames=2)) is Reason.inconsistent
    assert reason_of(in_items(*parts, NumberOfFrames=1)) is Reason.inconsistent
    assert reason_of(in_items(*parts, NumberOfFrames=4)) is Reason.truncated
    assert reason_of(in_items(item(b""))) is Reason.truncated
    assert reason_of(in_items(*parts[:-1], parts[-1][:-9])) is Reason.truncated


def test_a_lost_end_marker_is_no_loss_but_lost_pixels_are() -> None:
    frame = jpeg((NOISE[0] // 16).astype(np.uint8))
    expected = np.asarray(Image.open(BytesIO(frame)))
    one = an_object(expected[None])
    np.testing.assert_array_equal(frames_of(encoded(one, [frame[:-2]]))[0], expected)
    np.testing.assert_array_equal(frames_of(encoded(one, [frame + b"\0" * 30]))[0], expected)
    for cut in (10, 60, 150):
        assert reason_of(encoded(one, [frame[:-cut]])) is Reason.truncated


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_a_cut_codestream_is_not_filled_up(syntax: UID) -> None:
    dataset = an_object(NOISE[:1])
    dataset.compress(syntax, generate_instance_uid=False)
    from pydicom.encaps import generate_frames

    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    for length in (len(frame) // 2, len(frame) - 40):
        assert reason_of(encoded(dataset, [frame[:length]], syntax)) in {Reason.truncated, Reason.undecodable}


def test_a_codestream_counts_for_more_than_its_transfer_syntax() -> None:
    grey = (NOISE // 16).astype(np.uint8)
    for syntax in (JPEG2000Lossless, JPEGLSLossless, ExplicitVRLittleEndian):
        assert len(frames_of(encoded(an_object(grey), FRAMES, syntax))) == 3
    dataset = an_object(grey)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit  # decompressed by somebody, and not said
    np.testing.assert_array_equal(frames_of(dataset), grey)


# What is refused, and why


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"PixelData": b""}, Reason.no_pixels),
        ({"NumberOfFrames": 2}, Reason.truncated),
        ({"Rows": 17}, Reason.truncated),
        ({"Rows": 60_000, "Columns": 60_000}, Reason.too_large),
        ({"NumberOfFrames": 2_000_000_000}, Reason.too_large),
        ({"NumberOfFrames": -3}, Reason.inconsistent),
        ({"Rows": None}, Reason.inconsistent),
        ({"Columns": 0}, Reason.inconsistent),
        ({"Rows": 8}, Reason.inconsistent),
        ({"PhotometricInterpretation": None}, Reason.values),
        ({"PhotometricInterpretation": "HSV"}, Reason.values),
        ({"PhotometricInterpretation": "YBR_PARTIAL_420"}, Reason.values),
        ({"PhotometricInterpretation": "RGB"}, Reason.inconsistent),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, Reason.values),
        ({"SamplesPerPixel": 3}, Reason.inconsistent),
        ({"BitsAllocated": 13}, Reason.values),
        ({"BitsAllocated": 0}, Reason.values),
        ({"BitsAllocated": 8}, Reason.inconsistent),
        ({"BitsStored": 17}, Reason.inconsistent),
        ({"PixelRepresentation": 2}, Reason.inconsistent),
        ({"PixelRepresentation": None}, Reason.inconsistent),
    ],
    ids=str,
)
def test_a_header_that_contradicts_its_pixels_is_refused(change: dict[str, Any], reason: Reason) -> None:
    assert reason_of(an_object(RAMP, **change)) is reason


def test_an_object_without_pixels() -> None:
    dataset = an_object(RAMP)
    assert has_pixels(dataset)
    del dataset.PixelData
    assert not has_pixels(dataset)
    assert reason_of(dataset) is Reason.no_pixels


@pytest.mark.parametrize("syntax", [MPEG2MPML, "1.2.840.10008.1.2.4.94", "1.2.3.4"])
def test_a_syntax_that_is_not_read_is_named_so(syntax: str) -> None:
    assert reason_of(encoded(an_object(RAMP), [b"\x00\x00\x01\xb3" * 4], syntax)) is Reason.syntax
    dataset = an_object(RAMP)
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    assert reason_of(dataset) is Reason.syntax


def test_a_codestream_that_asks_for_more_than_the_header_is_not_decoded() -> None:
    large = jpeg(np.zeros((600, 500), np.uint8))
    assert reason_of(encoded(an_object(RAMP.astype(np.uint8)), [large])) is Reason.inconsistent
    colours = jpeg(np.zeros((16, 16, 3), np.uint8))
    assert reason_of(encoded(an_object(RAMP.astype(np.uint8)), [colours])) is Reason.inconsistent
    assert reason_of(encoded(an_object(RAMP.astype(np.uint8)), [b"\xff\xd8\xff\xd9"])) is Reason.undecodable


def test_a_frame_that_inflates_for_ever_is_stopped() -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = deflate.compress(bytes(2**24)) + deflate.flush()
    assert reason_of(encoded(an_object(RAMP), [bomb], DEFLATED_FRAMES)) is Reason.inconsistent


def test_memory_is_asked_for_only_after_the_size_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MAX_DECODED_BYTES", RAMP.nbytes - 1)
    assert reason_of(an_object(RAMP)) is Reason.too_large
    monkeypatch.setattr(layout, "MAX_DECODED_BYTES", RAMP.nbytes)
    assert frames_of(an_object(RAMP)).shape == RAMP.shape


def test_a_refusal_quotes_nothing_of_the_file() -> None:
    with pytest.raises(Quarantined) as caught:
        decode(an_object(RAMP, PhotometricInterpretation="SECRET^NAME"))
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None


# Real files


SAME = [
    ("054.dcm", "062.dcm", "085.dcm"),  # a dose: native, RLE, big endian
    (
        "027.dcm",
        "030.dcm",
        "061.dcm",
        "110.dcm",
        "117.dcm",
    ),  # MR: native, RLE, JPEG 2000, JPEG-LS, big endian
    ("084", "118.dcm", "135.dcm"),  # a palette: RLE, native, big endian
    ("066.dcm", "111.dcm", "092.dcm", "130.dcm", "138.dcm"),  # single bits: native, deflated, RLE, JPEG 2000
    ("089.dcm", "129.dcm"),  # single bits that end within a byte: deflated, RLE
    ("045.dcm", "021", "127.dcm"),  # 16-bit colours: native, big endian, RLE
    ("043.dcm", "086.dcm", "104.dcm"),  # JPEG-LS by pixel, by plane, by line
]


@pytest.mark.parametrize("names", SAME)
def test_the_same_picture_in_different_syntaxes_is_the_same(
    data_folder: Path, names: tuple[str, ...]
) -> None:
    first, *others = (
        decode(read((data_folder / "dicom" / "bag" / name).read_bytes())).frames[0] for name in names
    )
    for other in others:
        np.testing.assert_array_equal(first, other)


UNREAD = {
    "011.dcm": Reason.truncated,
    "014": Reason.inconsistent,  # pixels within a private sequence, and nothing of what they are
    "039.dcm": Reason.inconsistent,  # a number of frames that is none
    "083.dcm": Reason.inconsistent,  # nothing but meta information and bytes
    "125.dcm": Reason.inconsistent,  # the codestream is a fragment of another
}


def test_the_bag_decodes_as_far_as_it_can_be_decoded(data_folder: Path) -> None:
    decoded, unread = 0, {}
    for path in sorted((data_folder / "dicom" / "bag").iterdir()):
        try:
            dataset = read(path.read_bytes())
        except Quarantined:
            continue
        started = perf_counter()
        try:
            pixels = decode(dataset)
        except Quarantined as refused:
            if has_pixels(dataset):
                unread[path.name] = refused.reason
            continue
        decoded += 1
        assert perf_counter() - started < 10
        assert pixels.frames.dtype in ("u1", "i1", "u2", "i2", "f4")
        assert pixels.frames.ndim == 3
        assert pixels.frames.flags.c_contiguous
        drawn = brightness(pixels.frames, pixels.display)
        assert 0 <= drawn.min() <= drawn.max() <= 1
    assert unread == UNREAD
    assert decoded == 124
