"""Pictures and how they are shown: colours, tables, windows, padding; and what is refused, and why."""

from __future__ import annotations

import zlib
from pathlib import Path
from struct import pack
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, Sequence
from pydicom.uid import (
    MPEG2MPML,
    UID,
    EnhancedMRImageStorage,
    SegmentationStorage,
)

from client.dicom.dataset.reading import read
from client.dicom.decoding import decode, has_pixels, layout
from client.dicom.decoding.display import brightness
from client.dicom.decoding.stored import DEFLATED_FRAMES, stored_values
from client.dicom.outcomes import Quarantined, Reason
from client.dicom.pixels import Window
from tests.unit.dicom.making import (
    COLOURS,
    NOISE,
    RAMP,
    an_object,
    encoded,
    frames_of,
    jpeg,
    reason_of,
    through_a_file,
)

Values = NDArray[Any]

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
    hidden = (-900 if "PixelPaddingRangeLimit" in attributes else -2000) >= PADDED
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
