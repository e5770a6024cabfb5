"""DICOM files with one picture, from stored values to what a viewer shows (DICOM PS3.4 N.2)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian

from client.images.picture import LUMA, Picture, check_size, clip
from client.images.window import shown
from common.errors import ImageUnreadable

MAX_FILE_BYTES = 2**31
"""Largest file that is read whole."""

MAX_DEFLATED_BYTES = 2**22
"""Largest file in the deflated transfer syntax, which may inflate a thousandfold when opened."""

# pydicom logs the values that it stumbles over; a patient's do not belong in this program's log.
logging.getLogger("pydicom").propagate = False


def read_dicom(path: Path) -> Picture:
    """The single picture of a DICOM file.

    Raises:
        ImageUnreadable: No picture, several, or one that is too large or that no installed decoder reads.
            Other failures are pydicom's own exceptions.
    """
    _check_file_size(path)
    header = dcmread(path, stop_before_pixels=True)
    rows, columns = header.get("Rows"), header.get("Columns")
    if not rows or not columns:
        raise ImageUnreadable(f"{path} is a DICOM object without a picture")
    samples = int(header.get("SamplesPerPixel") or 1)
    check_size(path, int(rows) * int(columns) * samples, int(header.get("NumberOfFrames") or 1))
    _check_decoder(path, header)
    dataset = dcmread(path)
    # Archives are known to hand out shells: a whole header, and nothing behind it.
    if not any(keyword in dataset for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise ImageUnreadable(f"{path} describes a picture but does not hold it")
    brightness = _brightness(path, dataset, pixel_array(dataset))
    return Picture(brightness, str(dataset.get("Modality") or "") or None)


def _check_file_size(path: Path) -> None:
    """Refuses a file that is too large to be read whole, or to be inflated."""
    try:
        deflated = read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    except InvalidDicomError:
        raise ImageUnreadable(f"{path} is called DICOM but has no DICOM header") from None
    if path.stat().st_size > (MAX_DEFLATED_BYTES if deflated else MAX_FILE_BYTES):
        raise ImageUnreadable(f"{path} is too large to be one picture")


def _check_decoder(path: Path, header: Dataset) -> None:
    """Refuses a transfer syntax (0002,0010) that no installed decoder reads, and says which it is."""
    syntax = header.file_meta.TransferSyntaxUID
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        # A UID outside the dictionary has no name but itself, and a file may hold anything there.
        name = syntax.name if syntax.name != str(syntax) else "of an unknown kind"
        raise ImageUnreadable(f"{path}: no installed decoder reads pixel data {name}")


def _brightness(path: Path, dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.float32]:
    """Brightness of stored values (H, W) or (H, W, 3)."""
    photometric = dataset.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
        return clip(stored @ LUMA / float(np.iinfo(stored.dtype).max))
    if stored.ndim == 3:  # pydicom has turned every YBR into RGB
        return clip(stored @ LUMA / float(2**dataset.BitsStored - 1))
    if stored.ndim != 2:
        raise ImageUnreadable(f"{path}: pixel data of shape {stored.shape} is no picture")
    brightness = shown(dataset, np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64))
    return clip(1 - brightness if photometric == "MONOCHROME1" else brightness)
