"""A clip, a stack or a picture in an npy or npz file."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from client.dicom.pixels import Display
from client.images import Picture
from client.images.arrays import array_brightness, load_array
from client.predicting.case import Given
from client.predicting.contract import check_brightness, check_pictures, remarks_of
from client.predicting.layout import Layout
from client.predicting.rasters import case_of
from client.sources.record_file import holds_records
from client.tensors import Pictures, picture_steps
from common.errors import ImageMissing, ImageUnreadable, InputOtherKind, InputWithoutSpacing
from common.study import Frames, Slices, Study

CLIP = "frames"
"""The array that is meant where an npz file holds several."""


def array_case(path: Path, name: str, study: Study) -> Given:
    """The case in an array: (T, H, W) for slices and frames, (H, W) or (H, W, 3) for one picture.

    Raises:
        DataError: It cannot be read, or is not what the model reads.
    """
    if holds_records(path):
        raise InputOtherKind(f"records of measurements, where the model reads {study.sequence.kind}")
    array = _array(path)
    if not isinstance(study.sequence, Slices | Frames):
        if array.ndim == 3 and array.shape[2] not in (1, 3):
            check_pictures(study, (len(array), *array.shape[1:]), None)
        return case_of(Picture(array_brightness(path, array), None), name, study)
    if array.ndim != 3 or array.size == 0:
        raise ImageUnreadable(
            f"{name}: an array of shape {array.shape} is neither a clip nor a stack (T, H, W)"
        )
    if study.data.window is not None:
        raise InputWithoutSpacing("the model reads modality values, as HU, which this file does not state")
    clip = np.ascontiguousarray(array)
    check_pictures(study, clip.shape, None)
    check_brightness(clip)
    steps = picture_steps(Pictures(clip, Display(), None, name), study, torch.device("cpu"))
    layout = Layout.of(clip.shape, study)
    return Given(name, steps, remarks=remarks_of(_stretched(clip)), layout=layout)


def _array(path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise ImageMissing("it does not exist")
    try:
        with zipfile.ZipFile(path) as archive:
            named = CLIP if f"{CLIP}.npy" in archive.namelist() else None
    except (zipfile.BadZipFile, OSError):
        named = None
    try:
        array = load_array(path, named, path.stat().st_mtime_ns)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ImageUnreadable(f"{path.name}: {type(error).__name__}") from None
    if array.dtype.kind not in "biuf":
        raise ImageUnreadable(f"{path.name}: an array of {array.dtype} is no picture")
    return array.astype(np.uint8) if array.dtype == np.bool_ else _storable(array)


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    """The array in a type that torch knows how to read."""
    known = (np.uint8, np.int8, np.uint16, np.int16, np.float32)
    return array if array.dtype in known else array.astype(np.float32)


def _stretched(array: NDArray[Any]) -> NDArray[np.float32]:
    least, greatest = float(np.nanmin(array)), float(np.nanmax(array))
    brightness: NDArray[np.float32] = ((array - least) / max(greatest - least, 1e-9)).astype(np.float32)
    return brightness
