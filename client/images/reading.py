"""Which decoder reads a file, and the edge at which every decoder's failure becomes one of two errors."""

from __future__ import annotations

import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.images.arrays import (
    array_brightness,
    array_shape,
    class_values,
    load_array,
    stack_brightness,
)
from client.images.picture import Picture, Stack
from client.images.place import Place
from client.images.raster import read_class_values, read_raster
from common.errors import ConsiliumError, ImageMissing, ImageUnreadable

# `warnings.catch_warnings` swaps a list that all threads share, so decoders take turns.
_DECODING = threading.Lock()


def read_image(path: Path, frame: int | None = None) -> Picture:
    """The picture in a PNG, JPEG, DICOM, ``.npy`` or ``.npz`` file.

    Args:
        path: The file. DICOM is recognised by its content or the suffix ``.dcm``.
        frame: The row of the array in an ``.npy`` or ``.npz`` file; any other file holds one picture.

    Raises:
        ImageMissing: There is no such file.
        ImageUnreadable: No picture can be made of it.
    """
    if path.suffix.lower() in {".npy", ".npz"}:
        return read_array_row(path, None, frame)
    _require_file(path)
    with _decoding(path):
        if frame is not None:
            raise ImageUnreadable(f"{path}: row {frame} is asked for, but the file is not an array")
        if _is_dicom(path):
            # pydicom is slow to import, and many sites have PNG only.
            from client.images.dicom import read_dicom

            return read_dicom(path)
        return Picture(read_raster(path), None)


def read_array_row(path: Path, array_name: str | None, index: int | None) -> Picture:
    """One row of an array as a picture; the array itself stays in memory for the next row.

    Args:
        path: An ``.npy`` or ``.npz`` file.
        array_name: Which array of an ``.npz``; None where the file holds only one.
        index: Row of an array (N, H, W) or (N, H, W, 3); None where the array is the picture itself.

    Raises:
        ImageMissing: There is no such file.
        ImageUnreadable: The file, the array or the row cannot be read.
    """
    modified_ns = _require_file(path)
    with _decoding(path):
        array = load_array(path, array_name, modified_ns)
        if index is not None and not 0 <= index < (len(array) if array.ndim else 0):
            raise ImageUnreadable(f"{path}: there is no row {index} in an array of shape {array.shape}")
        return Picture(array_brightness(path, array if index is None else array[index]), None)


def read_stack(place: Place) -> Stack:
    """The pictures of a clip or a stack: an array (T, H, W), a multi-frame DICOM file, or a single picture.

    Raises:
        ImageMissing: There is no such file.
        ImageUnreadable: No pictures can be made of it.
    """
    modified_ns = _require_file(place.file)
    with _decoding(place.file):
        if place.is_array:
            return Stack(stack_brightness(place.file, _array(place, modified_ns)), None)
        if _is_dicom(place.file):
            from client.images.dicom import read_multiframe

            return read_multiframe(place.file)
        return Stack(read_raster(place.file)[None], None)


def stack_length(place: Place) -> int:
    """How many pictures a clip or a stack has, without decoding them.

    Raises:
        ImageMissing, ImageUnreadable: As :func:`read_stack`.
    """
    _require_file(place.file)
    with _decoding(place.file):
        if place.is_array:
            shape = array_shape(place.file, place.array)[0 if place.index is None else 1 :]
            return shape[0] if len(shape) > 2 else 1
        if not _is_dicom(place.file):
            return 1
        from client.images.dicom import count_frames

        return count_frames(place.file)


def read_mask(place: Place) -> NDArray[np.uint8]:
    """(T, H, W) class value of each pixel: a PNG file, or an array (T, H, W) or (H, W).

    Raises:
        ImageMissing: There is no such file.
        ImageUnreadable: It is no mask.
    """
    modified_ns = _require_file(place.file)
    with _decoding(place.file):
        values = _array(place, modified_ns) if place.is_array else read_class_values(place.file)
        return class_values(place.file, values)


def read_arrays(path: Path, names: tuple[str, ...]) -> tuple[NDArray[Any], ...]:
    """Arrays of an ``.npz`` file by name.

    Raises:
        ImageMissing: There is no such file.
        ImageUnreadable: One cannot be read.
    """
    modified_ns = _require_file(path)
    with _decoding(path):
        return tuple(load_array(path, name, modified_ns) for name in names)


def _array(place: Place, modified_ns: int) -> NDArray[Any]:
    array = load_array(place.file, place.array, modified_ns)
    if place.index is None:
        return array
    if not place.index < (len(array) if array.ndim else 0):
        raise ImageUnreadable(
            f"{place.file}: there is no row {place.index} in an array of shape {array.shape}"
        )
    row: NDArray[Any] = array[place.index]
    return row


def _require_file(path: Path) -> int:
    """When the file was last changed, in ns since the epoch."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise ImageMissing(f"{path} does not exist") from None
    except OSError as error:
        raise ImageUnreadable(f"{path}: {error.strerror}") from None
    # A pipe or a device would be waited for, or read, for ever.
    if not stat.S_ISREG(status.st_mode):
        raise ImageUnreadable(f"{path} is not a regular file")
    return status.st_mtime_ns


def _is_dicom(path: Path) -> bool:
    """Whether the file says so at byte 128 (DICOM PS3.10 section 7.1) or by its suffix."""
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM" or path.suffix.lower() in {".dcm", ".dicom"}


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Keeps a decoder's warnings in and turns whatever it raises into ImageUnreadable."""
    with _DECODING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except ConsiliumError:
            raise
        # The decoders' edge: on broken files pydicom, Pillow and numpy raise some twenty different types,
        # KeyError, struct.error, RecursionError and MemoryError among them. Only the type is passed on.
        except Exception as error:  # noqa: BLE001
            raise ImageUnreadable(f"{path}: the decoder stopped with {type(error).__name__}") from None
