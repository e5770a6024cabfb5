"""Reading whatever bytes there are: what is DICOM comes back whole, anything else gets its reason."""

from __future__ import annotations

import logging
import time
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, Sequence, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from client.dicom.dataset import reading
from client.dicom.dataset.reading import holds, items, number, numbers, read, text, texts, whole
from client.dicom.outcomes import Quarantined, Reason

SECRET = "Mueller^Anna"
NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


def an_object(**attributes: Any) -> Dataset:
    """A small CT slice."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, UID("2.25.7")
    dataset.Modality, dataset.PatientName, dataset.PatientID = "CT", SECRET, "4711"
    dataset.Rows = dataset.Columns = 4
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.PixelData = np.arange(16, dtype="<u2").tobytes()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def written(dataset: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """As a file with preamble and file meta information."""
    stream, meta = BytesIO(), FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, UID("2.25.7")
    dataset.file_meta = meta
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def bare(dataset: Dataset, syntax: UID) -> bytes:
    """Nothing but the data set: no preamble, no file meta information."""
    stream = BytesIO()
    little, implicit = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
    dcmwrite(stream, dataset, little_endian=little, implicit_vr=implicit)
    return stream.getvalue()


def reason_of(data: bytes) -> Reason:
    with pytest.raises(Quarantined) as caught:
        read(data)
    return caught.value.reason


# What is DICOM


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("whole_file", [True, False], ids=["with-preamble", "bare"])
def test_an_object_is_read_in_every_native_syntax(syntax: UID, whole_file: bool) -> None:
    dataset = an_object()
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.arange(16, dtype=">u2").tobytes()
    found = read(written(dataset, syntax) if whole_file else bare(dataset, syntax))
    assert found.file_meta.TransferSyntaxUID == syntax
    assert (text(found, "PatientID"), whole(found, "Rows")) == ("4711", 4)
    assert found.PixelData == dataset.PixelData


def test_a_file_without_preamble_but_with_meta_information_is_read() -> None:
    found = read(written(an_object())[132:])
    assert text(found, "PatientID") == "4711"


@pytest.mark.parametrize("stated", NATIVE)
@pytest.mark.parametrize("true", NATIVE)
def test_a_wrong_transfer_syntax_is_put_right(stated: UID, true: UID) -> None:
    head = written(an_object(), stated)
    head = head[: head.index(b"\x08\x00\x16\x00" if stated != ExplicitVRBigEndian else b"\x00\x08\x00\x16")]
    found = read(head + bare(an_object(), true))
    assert found.file_meta.TransferSyntaxUID == true
    assert text(found, "PatientID") == "4711"


def test_what_lies_behind_the_pixels_is_left_away() -> None:
    found = read(written(an_object(DataSetTrailingPadding=b"\0" * 8)))
    assert not holds(found, "DataSetTrailingPadding")


def test_encapsulated_pixels_are_found_without_their_delimiter_and_around_a_false_one() -> None:
    frame = b"\xff\xd8" + b"\xfe\xff\xdd\xe0\0\0\0\0" + b"\xff\xd9"
    dataset = an_object(PixelData=encapsulate([frame, frame]), NumberOfFrames=2)
    dataset["PixelData"].is_undefined_length = True
    data = written(dataset, JPEGBaseline8Bit)
    assert data.endswith(b"\xfe\xff\xdd\xe0\0\0\0\0")
    for variant in (data, data[:-8]):
        assert read(variant).PixelData == dataset.PixelData


def test_a_deflated_object_is_read() -> None:
    found = read(written(an_object(), DeflatedExplicitVRLittleEndian))
    assert found.PixelData == an_object().PixelData


# What is not


@pytest.mark.parametrize(
    "data",
    [
        b"this is not a picture " * 40,
        b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(500),
        b"\x89PNG\r\n\x1a\n" + bytes(500),
        b"PK\x03\x04" + bytes(500),
        bytes(1000),
        b"\x08\x00",
        np.random.default_rng(1).bytes(4000),
        b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + np.random.default_rng(2).bytes(400),
        b"\x08\x00\x60\x00CS\x02\x00CT" + b"\x10\x00\x20\x00LO\x02\x0042",  # anything may hold so little
    ],
    ids=["text", "jpeg", "png", "zip", "zeros", "two-bytes", "noise", "begins-well", "too-little"],
)
def test_what_is_no_dicom_is_told_so(data: bytes) -> None:
    assert reason_of(data) is Reason.not_dicom


def test_nothing_and_nothing_behind_a_preamble() -> None:
    assert reason_of(b"") is Reason.empty
    assert reason_of(bytes(128) + b"DICM") is Reason.header_broken


def test_a_file_that_is_cut_off_before_its_pixels_is_broken() -> None:
    data = written(an_object(InstitutionAddress="x" * 100))
    assert reason_of(data[: data.index(b"x" * 50)]) is Reason.header_broken


def test_a_length_beyond_the_file_costs_nothing() -> None:
    data = written(an_object())
    start = data.index(b"\x10\x00\x10\x00PN")
    tracemalloc.start()
    try:
        lying = data[:start] + b"\x10\x00\x10\x00UT\0\0" + pack("<L", 0xFFFFFFF0) + data[start:]
        assert reason_of(lying) is Reason.header_broken
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_sequences_within_sequences_end_as_broken_and_soon() -> None:
    nested = b"\x40\x00\x30\xa7SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    head = written(an_object())
    started = time.perf_counter()
    assert reason_of(head[: head.index(b"\x28\x00\x02\x00")] + nested * 20_000) is Reason.header_broken
    assert time.perf_counter() - started < 5


def test_too_many_elements_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(an_object())
    monkeypatch.setattr(reading, "MAX_ELEMENTS", 5)
    assert reason_of(data) is Reason.header_broken


def test_a_file_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(an_object())
    monkeypatch.setattr(reading, "MAX_OBJECT_BYTES", len(data) - 1)
    assert reason_of(data) is Reason.too_large


def test_a_deflate_bomb_uses_no_more_memory_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(an_object(), DeflatedExplicitVRLittleEndian)
    start = data.index(b"1.2.840.10008.1.2.1.99") + 22
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(bytes(2**26)) + packer.flush()
    assert len(bomb) < 2**17
    monkeypatch.setattr(reading, "MAX_INFLATED_BYTES", 2**22)
    tracemalloc.start()
    try:
        assert reason_of(data[:start] + bomb) is Reason.too_large
        assert tracemalloc.get_traced_memory()[1] < 2.5 * reading.MAX_INFLATED_BYTES
    finally:
        tracemalloc.stop()


def test_deflated_data_that_are_cut_off_are_broken() -> None:
    data = written(an_object(PixelData=np.random.default_rng(0).bytes(32)), DeflatedExplicitVRLittleEndian)
    assert reason_of(data[:-20]) is Reason.header_broken


# Values


def test_values_come_as_they_can_be_used() -> None:
    dataset = an_object(ImageType=["ORIGINAL", "", "AXIAL "], WindowCenter=[40, 400], SliceThickness="2.5")
    dataset.ReferencedImageSequence = Sequence([Dataset(), Dataset()])
    found = read(written(dataset))
    assert texts(found, "ImageType") == ("ORIGINAL", "", "AXIAL")
    assert text(found, "ImageType") == "ORIGINAL"
    assert numbers(found, "WindowCenter") == (40.0, 400.0)
    assert number(found, "SliceThickness") == 2.5
    assert whole(found, "SliceThickness") is None
    assert len(items(found, "ReferencedImageSequence")) == 2
    assert text(found, "PatientName") == SECRET


BROKEN = {
    "IS": b"\x20\x00\x13\x00IS\x06\x00seven ",
    "DS": b"\x18\x00\x50\x00DS\x06\x001e9999",
    "US": b"\x28\x00\x10\x00US\x03\x00abc",
    "SQ": b"\x08\x00\x40\x11SQ\x00\x00\x08\x00\x00\x00notitems",
    "UI": b"\x08\x00\x18\x00UI\x06\x00\xff\xfe\xfd\xfc\xfb\xfa",
    "PN": b"\x10\x00\x10\x00PN\x06\x00\x1b$)C\xff\xff",
    "NaN": b"\x18\x00\x50\x00DS\x04\x00nan ",
}
KEYWORDS = ["InstanceNumber", "SliceThickness", "Rows", "ReferencedImageSequence", "SOPInstanceUID"]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_value_is_absent_and_never_raises(name: str) -> None:
    charset = b"\x08\x00\x05\x00CS\x08\x00NO_SUCH " if name == "PN" else b""
    sop_class = b"\x08\x00\x16\x00UI\x1a\x001.2.840.10008.5.1.4.1.1.2\0"
    found = read(bytes(128) + b"DICM" + charset + sop_class + BROKEN[name])
    for keyword in [*KEYWORDS, "PatientName", "NoSuchKeyword"]:
        assert number(found, keyword) is None
        assert numbers(found, keyword) is None
        assert whole(found, keyword) is None
        assert not any(len(item) for item in items(found, keyword))
        assert isinstance(text(found, keyword), str | None)


def test_nothing_of_a_file_is_logged_or_quoted(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    caplog.set_level(logging.DEBUG)
    data = written(an_object(InstitutionName=SECRET * 20))
    broken = data.replace(b"DS", b"??").replace(b"PN", b"US")
    for cut in range(200, len(data), 7):
        try:
            found = read(broken[:cut])
            text(found, "PatientName"), number(found, "PatientName")
        except Quarantined as refused:
            assert "Mueller" not in str(refused)
            assert refused.__cause__ is None
            assert refused.__context__ is None or refused.__suppress_context__
    assert "Mueller" not in caplog.text
    assert not recwarn.list


# Real files


def test_every_file_of_the_bag_is_read_or_has_a_reason(data_folder: Path) -> None:
    reasons = {}
    for path in sorted((data_folder / "dicom" / "bag").iterdir()):
        try:
            read(path.read_bytes())
        except Quarantined as refused:
            reasons[path.name] = refused.reason
    assert reasons == {"071.dcm": Reason.header_broken}  # a plan that somebody cut off
