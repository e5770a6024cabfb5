"""Files that are mapped into memory, and where in one of them arrays lie.

An array over such a file's bytes can be traced back to it, whatever records it has passed through since.
So whoever wants to keep the array may keep the file.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from common.weights import ArraySpec, Place, Weights


class MappedFile(mmap.mmap):
    """The bytes of a file that is not written to any more; it may get other names, or be removed.

    Attributes:
        path: What it was called.
        identity: What it is, by whatever name: its device and inode.
    """

    path: Path
    identity: tuple[int, int]

    @classmethod
    def of(cls, file: BufferedReader, path: Path) -> Self:
        """An open file, mapped; one of no bytes cannot be (``ValueError``)."""
        mapped = cls(file.fileno(), 0, access=mmap.ACCESS_READ)
        mapped.path, mapped.identity = path, identity_of(os.fstat(file.fileno()))
        return mapped


@dataclass(frozen=True, slots=True)
class Lying:
    """Arrays that lie as they are in one file: which, and where in it."""

    file: MappedFile
    places: Mapping[str, Place]


def identity_of(status: os.stat_result) -> tuple[int, int]:
    """What tells two files apart."""
    return status.st_dev, status.st_ino


def lying(weights: Weights) -> Lying | None:
    """Where the arrays lie; None if one of them was copied, or made, or lies in a file of its own."""
    files = [_file_of(weights[name]) for name in weights]
    first = next(iter(files), None)
    if first is None or any(file is not first for file in files):
        return None
    begin = _address(np.frombuffer(first, np.uint8))
    arrays = {name: weights[name] for name in weights}
    return Lying(first, {name: _place(array, begin) for name, array in arrays.items()})


def _place(array: NDArray[Any], begin: int) -> Place:
    return Place(ArraySpec(array.dtype, array.shape), _address(array) - begin)


def _file_of(array: object) -> MappedFile | None:
    """The file that an array in C order is over."""
    if not isinstance(array, np.ndarray) or not array.flags.c_contiguous:
        return None
    owner: object = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    owner = owner.obj if isinstance(owner, memoryview) else owner
    return owner if isinstance(owner, MappedFile) else None


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])
