"""Laws of the edge: whatever bytes a file holds, it is read and decoded or refused with a reason.

Nothing compressed: a decoder in C may end its process, so such files are broken in ``test_broken_dicom``.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmwrite
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from client.dicom.dataset.kinds import kind_of
from client.dicom.dataset.reading import read
from client.dicom.decoding import decode, has_pixels
from client.dicom.decoding.fragments import encoded_frames, end_of_items
from client.dicom.outcomes import Quarantined, Reason


def refused_or_done(dataset: Dataset) -> None:
    try:
        kind_of(dataset)
        pixels = decode(dataset)
    except Quarantined as refused:
        assert isinstance(refused.reason, Reason)
        return
    assert pixels.frames.ndim == 3
    assert pixels.frames.size > 0


@given(st.binary(max_size=400))
def test_any_bytes_are_no_dicom_or_have_a_reason(data: bytes) -> None:
    for content in (data, bytes(128) + b"DICM" + data, b"\x08\x00\x16\x00UI\x02\x001." + data):
        try:
            refused_or_done(read(content))
        except Quarantined as refused:
            assert refused.reason in {Reason.empty, Reason.not_dicom, Reason.header_broken, Reason.too_large}


numbers = st.sampled_from([0, 1, 2, 3, 7, 8, 12, 13, 16, 31, 32, 64, 255, 65535])
ABSURD = {
    "Rows": numbers,
    "Columns": numbers,
    "NumberOfFrames": st.sampled_from(["", "0", "1", "2", "-1", "999999999", "1A", "1e3", "1\\2"]),
    "SamplesPerPixel": numbers,
    "PhotometricInterpretation": st.sampled_from(
        ["", "MONOCHROME1", "RGB", "YBR_FULL_422", "PALETTE COLOR", "?"]
    ),
    "BitsAllocated": numbers,
    "BitsStored": numbers,
    "HighBit": numbers,
    "PixelRepresentation": numbers,
    "PlanarConfiguration": numbers,
    "RescaleSlope": st.sampled_from(["", "0", "-1", "1e300", "nan", "x"]),
    "RescaleIntercept": st.sampled_from(["", "-1024", "1e300", "inf"]),
    "WindowCenter": st.sampled_from(["", "40", "nan", "1e300\\2"]),
    "WindowWidth": st.sampled_from(["", "0", "-5", "1e-300", "400"]),
    "PixelPaddingValue": numbers,
    "PixelPaddingRangeLimit": numbers,
    "Modality": st.sampled_from(["", "CT", "MR", "DX", "SEG"]),
    "SmallestImagePixelValue": numbers,
}


def element(keyword: str, value: Any) -> RawDataElement:
    """An element of any value, however wrong, as it would come out of a file."""
    vr = dictionary_VR(keyword).split(" or ")[0]
    raw = int(value).to_bytes(2, "little") if isinstance(value, int) else value.encode()
    tag = Tag(tag_for_keyword(keyword) or 0)
    return RawDataElement(tag, vr, len(raw), raw, 0, False, True)


@given(st.fixed_dictionaries({}, optional=ABSURD), st.integers(0, 600))
def test_an_absurd_header_is_refused_before_it_costs_anything(changes: dict[str, Any], length: int) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.Rows = dataset.Columns = dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PixelRepresentation = 0
    for keyword, value in changes.items():
        dataset[keyword] = element(keyword, value)
    dataset.add_new("PixelData", "OW", bytes(length))
    assert has_pixels(dataset)
    refused_or_done(dataset)


@given(st.lists(st.binary(max_size=30), max_size=6), st.integers(1, 6), st.binary(max_size=20))
def test_fragments_are_found_or_refused(parts: list[bytes], count: int, tail: bytes) -> None:
    items = b"".join(b"\xfe\xff\x00\xe0" + len(part).to_bytes(4, "little") + part for part in parts)
    assert end_of_items(items + tail, 0) <= len(items + tail)
    try:
        frames = encoded_frames(Dataset(), items + tail, count)
    except Quarantined as refused:
        assert refused.reason in {Reason.truncated, Reason.inconsistent}
        return
    assert len(frames) == count
    assert b"".join(frames) in b"".join(parts)


@given(st.integers(0, 2**32), st.integers(0, 40))
def test_random_pixels_survive_a_file(seed: int, rows: int) -> None:
    values = np.random.default_rng(seed).integers(-1000, 3000, (1, rows + 1, 3)).astype(np.int16)
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = CTImageStorage, "1.2.3", "CT"
    dataset.set_pixel_data(values[0], "MONOCHROME2", 16, generate_instance_uid=False)
    del dataset.file_meta
    stream = BytesIO()
    dcmwrite(stream, dataset, implicit_vr=bool(seed % 2), little_endian=True)
    np.testing.assert_array_equal(decode(read(stream.getvalue())).frames, values)
