"""Small DICOM objects whose pixels are known, and what becomes of them."""

from __future__ import annotations

from io import BytesIO
from struct import pack
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from client.dicom.dataset.reading import read
from client.dicom.decoding import decode
from client.dicom.outcomes import Quarantined, Reason

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


def item(content: bytes) -> bytes:
    content += b"\0" * (len(content) % 2)
    return b"\xfe\xff\x00\xe0" + pack("<L", len(content)) + content
