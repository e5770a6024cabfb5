"""Masks out of NIfTI files, in DICOM's directions.

NIfTI's axes point right, anterior and superior, DICOM's left, posterior and superior: x and y change sign.
Of the two transforms that a file can hold, the one that leads to the scanner's or to aligned coordinates is
taken (codes 1 and 2), sform before qform; one that leads to an atlas is no place in a patient.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.dicom.archive.capped import read_capped
from client.dicom.geometry.planes import plane_of
from client.dicom.masks.laying import Labels, Mask
from client.dicom.outcomes import Quarantined, Reason

MAX_BYTES = 2**30
"""Largest mask that is read, unpacked: 1024 slices of 1024 x 1024 in a byte each."""

MAX_LABEL = 255
"""Labels are kept in a byte."""

GZIP = b"\x1f\x8b"

PATIENT_CODES = (1, 2)  # NIFTI_XFORM_SCANNER_ANAT, NIFTI_XFORM_ALIGNED_ANAT

MILLIMETRES = {"meter": 1e3, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}


def nifti_mask(data: bytes) -> Mask:
    """The mask of a NIfTI file (.nii or .nii.gz, version 1 or 2).

    Returns:
        One plane for each step along the third axis; rows go along the second, columns along the first.

    Raises:
        Quarantined: It cannot be read, is larger than ``MAX_BYTES``, has more than three axes, no place in
            the patient, or values that are no labels from 0 to 255.
    """
    image = _opened(_unpacked(data))
    affine = _affine(image.header)
    values = _labels(_stored(image), image.dataobj.slope, image.dataobj.inter)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    sizes = np.linalg.norm(lps[:3, :3], axis=0).tolist()
    if not all(math.isfinite(size) and size > 0 for size in sizes):
        raise Quarantined(Reason.mask_unread, "an axis without length")
    axes = [*(lps[:3, 0] / sizes[0]).tolist(), *(lps[:3, 1] / sizes[1]).tolist()]
    positions = [(lps[:3, 3] + at * lps[:3, 2]).tolist() for at in range(len(values))]
    planes = [plane_of(position, axes, (sizes[1], sizes[0])) for position in positions]
    known = tuple(plane for plane in planes if plane is not None)
    if len(known) != len(planes):
        raise Quarantined(Reason.mask_unread, "axes that are not at right angles, or a place too far away")
    return Mask(known, values, spacing_mm=sizes[2])


def _unpacked(data: bytes) -> bytes:
    """The file's content without compression.

    Raises:
        Quarantined: It is empty, cut off, or too large.
    """
    if not data.startswith(GZIP):
        return read_capped(io.BytesIO(data), MAX_BYTES, len(data))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            return read_capped(io.BufferedReader(stream), MAX_BYTES, 0)
    except (OSError, EOFError, zlib.error):
        raise Quarantined(Reason.truncated, "the compressed file is broken") from None


def _opened(data: bytes) -> Any:
    """The file's image, its header checked and its values not yet read.

    Raises:
        Quarantined: It is no NIfTI file, or is shorter than its header says.
    """
    import nibabel

    first = {int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big")}
    kind = nibabel.Nifti2Image if 540 in first else nibabel.Nifti1Image if 348 in first else None
    if kind is None:
        raise Quarantined(Reason.mask_unread, "no NIfTI header")
    try:
        image: Any = kind.from_bytes(data)
        size_bytes = math.prod(image.shape) * image.get_data_dtype().itemsize
    except Exception:  # noqa: BLE001  a decoder's edge: nibabel and numpy raise what they like
        raise Quarantined(Reason.mask_unread, "a NIfTI header that cannot be read") from None
    if size_bytes > len(data):
        raise Quarantined(Reason.truncated, "fewer values than the header says")
    return image


def _affine(header: Any) -> NDArray[np.float64]:
    """(4, 4) float64: from indices to mm in the patient, x to the right.

    Raises:
        Quarantined: No transform leads to the patient.
    """
    try:
        unit = MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
        transforms = (header.get_sform(coded=True), header.get_qform(coded=True))
    except Exception:  # noqa: BLE001  a decoder's edge: broken quaternions and unit codes
        raise Quarantined(Reason.mask_unread, "a transform that cannot be read") from None
    for matrix, code in transforms:
        if code in PATIENT_CODES and matrix is not None and np.isfinite(matrix).all():
            affine: NDArray[np.float64] = np.diag([unit, unit, unit, 1.0]) @ matrix
            return affine
    raise Quarantined(Reason.mask_unread, "no place in a patient")


def _stored(image: Any) -> NDArray[Any]:
    """(I, J, K) the values as stored, whole or real numbers.

    Raises:
        Quarantined: It is no volume of numbers.
    """
    shape = image.shape
    if len(shape) < 2 or any(size != 1 for size in shape[3:]) or 0 in shape:
        raise Quarantined(Reason.mask_unread, "neither a picture nor a volume")
    try:
        values = np.asarray(image.dataobj.get_unscaled())
    except Exception:  # noqa: BLE001  a decoder's edge: offsets beyond the file, and whatever else
        raise Quarantined(Reason.truncated, "fewer values than the header says") from None
    if values.dtype.kind not in "uif":
        raise Quarantined(Reason.mask_unread, "values that are no numbers")
    return values.reshape((*shape[:2], shape[2] if len(shape) > 2 else 1))


def _labels(stored: NDArray[Any], slope: float, inter: float) -> Labels:
    """(K, J, I) uint8, scaled as the header says, plane by plane.

    Raises:
        Quarantined: A value is no whole number from 0 to 255.
    """
    width, height, depth = stored.shape
    labels: Labels = np.empty((depth, height, width), dtype=np.uint8)
    for at in range(depth):
        plane = stored[:, :, at].T
        scaled = plane if (slope, inter) == (1, 0) else plane.astype(np.float64) * slope + inter
        with np.errstate(invalid="ignore", over="ignore"):
            labels[at] = scaled.astype(np.uint8)
        if not np.array_equal(labels[at], scaled):
            raise Quarantined(Reason.mask_unread, f"values that are not labels from 0 to {MAX_LABEL}")
    return labels
