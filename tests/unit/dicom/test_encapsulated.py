"""Encapsulated pixels as real archives hold them: wrong tables, lost ends, syntaxes that are not true."""

from __future__ import annotations

from io import BytesIO
from struct import pack
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import encapsulate_extended, generate_frames
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from client.dicom.outcomes import Reason
from tests.unit.dicom.making import NOISE, an_object, encoded, frames_of, item, jpeg, reason_of

Values = NDArray[Any]

FRAMES = [jpeg(frame) for frame in (NOISE // 16).astype(np.uint8)]


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
