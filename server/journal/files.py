"""The files beside the journal's database: arrays that a row names by their digest, in their run's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.chain import sync_folder
from common.files import unwritable
from common.mapped import MappedFile, identity_of, lying
from common.weights import ArraySpec, Place, Weights

MOST_BESIDE_BYTES = 2**22
"""Of a file that is kept for its arrays: above it whoever sent it sent much else."""


def made(folder: Path) -> Path:
    """The folder, for its owner only; made if it is not there.

    Raises:
        DiskFull, OutputUnwritable: It cannot be.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None
    return folder


def linked(path: Path, weights: Weights) -> Mapping[str, Place] | None:
    """Where arrays lie in the file at ``path``, which is a second name of the one that they lie in already.

    Nothing is written but the name, which outlives a power cut as the file does. The first name may go.

    Returns:
        None, and there is nothing at ``path`` that was not there before, if they do not all lie in one file,
        it is on another disk or on one that knows no links, or is another file by now.
    """
    found = lying(weights)
    if found is None or len(found.file) > _size(found.places) + MOST_BESIDE_BYTES:
        return None
    try:
        _link(found.file, path)
    except OSError:
        return None
    return found.places


def told(places: Mapping[str, Place]) -> dict[str, list[Any]]:
    """Places as JSON holds them; a type says the order of its bytes."""
    return {name: [at.spec.dtype.str, list(at.spec.shape), at.begin] for name, at in places.items()}


def understood(places: Mapping[str, list[Any]]) -> dict[str, Place]:
    """Places that were :func:`told`."""
    return {
        name: Place(ArraySpec(np.dtype(dtype), tuple(shape)), begin)
        for name, (dtype, shape, begin) in places.items()
    }


def _link(file: MappedFile, path: Path) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.unlink(missing_ok=True)
        partial.hardlink_to(file.path)
        with partial.open("rb") as same:
            if identity_of(os.fstat(same.fileno())) != file.identity:
                raise FileNotFoundError(file.path)
            os.fsync(same.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)  # also where it and ``path`` were one file: then nothing was replaced


def _size(places: Mapping[str, Place]) -> int:
    return sum(at.spec.size * at.spec.dtype.itemsize for at in places.values())
