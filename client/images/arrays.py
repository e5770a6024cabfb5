"""Pictures, stacks and masks as rows of a numpy array: ``.npy`` and ``.npz`` files, never pickled objects."""

from __future__ import annotations

import zipfile
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from client.images.picture import LUMA, check_size, clip
from common.errors import ImageUnreadable

MAX_ARRAY_BYTES = 2**32
"""Largest array, uncompressed; two of them are kept in memory."""


@lru_cache(maxsize=2)
def load_array(path: Path, name: str | None, modified_ns: int) -> NDArray[Any]:
    """An array out of an ``.npy`` or ``.npz`` file, read-only.

    Args:
        path: The file.
        name: Which array of an ``.npz``; None where it holds only one.
        modified_ns: When the file was last changed; a changed file is not served from memory.

    Raises:
        ImageUnreadable: No such array, or too large. Other failures are numpy's own exceptions.
    """
    if path.suffix.lower() == ".npy":
        with path.open("rb") as stream:
            return _read_array(path, stream)
    with zipfile.ZipFile(path) as archive, archive.open(_member(path, archive.namelist(), name)) as stored:
        return _read_array(path, cast(BinaryIO, stored))


def array_brightness(path: Path, row: NDArray[Any]) -> NDArray[np.float32]:
    """Brightness of an array (H, W), (H, W, 1) or (H, W, 3): a fraction of its type's range.

    Raises:
        ImageUnreadable: An array that has another shape, or a type without an agreed white.
    """
    if row.ndim == 3 and row.shape[2] in {1, 3}:
        row = row[:, :, 0] if row.shape[2] == 1 else (row @ LUMA).astype(row.dtype)
    if row.ndim != 2 or row.size == 0:
        raise ImageUnreadable(f"{path}: an array of shape {row.shape} is no picture; which row is meant?")
    check_size(path, row.size)
    if row.dtype in (np.uint8, np.uint16):
        return clip(row / float(np.iinfo(row.dtype).max))
    if row.dtype == np.bool_ or row.dtype.kind == "f":
        return clip(row.astype(np.float64))
    raise ImageUnreadable(f"{path}: nobody can say what is white in an array of {row.dtype}")


def stack_brightness(path: Path, pictures: NDArray[Any]) -> NDArray[np.float32]:
    """Brightness (T, H, W) of an array (T, H, W), (T, H, W, 1) or (T, H, W, 3), or of one picture (H, W).

    Raises:
        ImageUnreadable: As :func:`array_brightness`.
    """
    if pictures.ndim == 2:
        return array_brightness(path, pictures)[None]
    if pictures.ndim not in (3, 4) or not len(pictures):
        raise ImageUnreadable(f"{path}: an array of shape {pictures.shape} is no stack of pictures")
    check_size(path, pictures.size)
    return np.stack([array_brightness(path, picture) for picture in pictures])


def class_values(path: Path, values: NDArray[Any]) -> NDArray[np.uint8]:
    """(T, H, W) of a mask (T, H, W) or (H, W): the class value of each pixel, 0 to 255.

    Raises:
        ImageUnreadable: It has another shape, or values that are no whole numbers of that range.
    """
    if values.ndim not in (2, 3) or not values.size or values.dtype.kind not in "uib":
        raise ImageUnreadable(f"{path}: an array of {values.dtype} and shape {values.shape} is no mask")
    check_size(path, values.size)
    if values.min() < 0 or values.max() > 255:
        raise ImageUnreadable(f"{path}: a mask has values from 0 to 255")
    return values.astype(np.uint8).reshape(-1, *values.shape[-2:])


def array_shape(path: Path, name: str | None) -> tuple[int, ...]:
    """The shape of an array, from its header alone.

    Raises:
        ImageUnreadable: As :func:`load_array`.
    """
    if path.suffix.lower() == ".npy":
        with path.open("rb") as stream:
            return _header(stream)[0]
    with zipfile.ZipFile(path) as archive, archive.open(_member(path, archive.namelist(), name)) as stored:
        return _header(cast(BinaryIO, stored))[0]


def _member(path: Path, members: list[str], name: str | None) -> str:
    """The archive's member that holds the array."""
    if name is None and len(members) == 1:
        return members[0]
    if f"{name}.npy" in members:
        return f"{name}.npy"
    names = ", ".join(member.removesuffix(".npy") for member in members)
    raise ImageUnreadable(f"{path}: name one of its arrays ({names}), as in {path.name}#NAME")


def _read_array(path: Path, stream: BinaryIO) -> NDArray[Any]:
    """The array in the stream, once its header has been found affordable."""
    shape, dtype = _header(stream)
    if prod(shape) * dtype.itemsize > MAX_ARRAY_BYTES:
        raise ImageUnreadable(f"{path}: an array of shape {shape} is too large to be held in memory")
    stream.seek(0)
    array: NDArray[Any] = np.load(stream, allow_pickle=False)
    array.setflags(write=False)
    return array


def _header(stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    if np.lib.format.read_magic(stream) == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    return shape, dtype
