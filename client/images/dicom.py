"""DICOM files with one picture, as a viewer shows them: the file's own window, or its whole range."""

from __future__ import annotations

from pathlib import Path

from client.dicom.dataset.reading import MAX_OBJECT_BYTES, read, text, whole
from client.dicom.decoding import decode, has_pixels
from client.dicom.decoding.display import brightness
from client.dicom.outcomes import Quarantined
from client.images.picture import Picture, check_size
from common.errors import ImageUnreadable


def read_dicom(path: Path) -> Picture:
    """The single picture of a DICOM file.

    Raises:
        ImageUnreadable: No picture, several, or one that is too large or that no installed decoder reads.
    """
    if path.stat().st_size > MAX_OBJECT_BYTES:
        raise ImageUnreadable(f"{path} is too large to be one picture")
    try:
        dataset = read(path.read_bytes())
        rows, columns = whole(dataset, "Rows"), whole(dataset, "Columns")
        if not rows or not columns:
            raise ImageUnreadable(f"{path} is a DICOM object without a picture")
        check_size(path, rows * columns, whole(dataset, "NumberOfFrames") or 1)
        # Archives are known to hand out shells: a whole header, and nothing behind it.
        if not has_pixels(dataset):
            raise ImageUnreadable(f"{path} describes a picture but does not hold it")
        pixels = decode(dataset, own_window=True)
    except Quarantined as refused:
        raise ImageUnreadable(f"{path}: {refused}. {refused.reason.hint}") from None
    return Picture(brightness(pixels.frames, pixels.display)[0], text(dataset, "Modality"))
