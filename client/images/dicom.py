"""DICOM files as a viewer shows them: the file's own window, or its whole range."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from client.dicom.dataset.reading import MAX_OBJECT_BYTES, read, text, whole
from client.dicom.decoding import decode, has_pixels
from client.dicom.decoding.display import brightness
from client.dicom.outcomes import Quarantined
from client.images.picture import Picture, Stack, check_size
from common.errors import ImageUnreadable


def read_dicom(path: Path) -> Picture:
    """The single picture of a DICOM file.

    Raises:
        ImageUnreadable: No picture, several, or one that is too large or that no installed decoder reads.
    """
    frames, modality = _shown(path, single=True)
    return Picture(frames[0], modality)


def read_multiframe(path: Path) -> Stack:
    """All pictures of a DICOM file, in their order.

    Raises:
        ImageUnreadable: As :func:`read_dicom`, but for there being several.
    """
    return Stack(*_shown(path, single=False))


def count_frames(path: Path) -> int:
    """How many pictures a DICOM file says that it holds."""
    return whole(_dataset(path), "NumberOfFrames") or 1


def _dataset(path: Path) -> Dataset:
    if path.stat().st_size > MAX_OBJECT_BYTES:
        raise ImageUnreadable(f"{path} is too large to be read at once")
    try:
        return read(path.read_bytes())
    except Quarantined as refused:
        raise ImageUnreadable(f"{path}: {refused}. {refused.reason.hint}") from None


def _shown(path: Path, *, single: bool) -> tuple[NDArray[np.float32], str | None]:
    """(T, H, W) brightness of a file's pictures, and its modality."""
    dataset = _dataset(path)
    try:
        rows, columns = whole(dataset, "Rows"), whole(dataset, "Columns")
        if not rows or not columns:
            raise ImageUnreadable(f"{path} is a DICOM object without a picture")
        frames = whole(dataset, "NumberOfFrames") or 1
        check_size(path, rows * columns * (1 if single else frames), frames if single else 1)
        # Archives are known to hand out shells: a whole header, and nothing behind it.
        if not has_pixels(dataset):
            raise ImageUnreadable(f"{path} describes a picture but does not hold it")
        pixels = decode(dataset, own_window=True)
    except Quarantined as refused:
        raise ImageUnreadable(f"{path}: {refused}. {refused.reason.hint}") from None
    return brightness(pixels.frames, pixels.display), text(dataset, "Modality")
