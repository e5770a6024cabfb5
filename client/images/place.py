"""Where a manifest says that pictures are: a file, an array in it, a row of that."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from common.errors import ImageUnreadable

_OF_ARRAY = re.compile(r"(.*\.np[yz])#(.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Place:
    """A file, or a part of it.

    Attributes:
        file: The file.
        array: Which array of an ``.npz``; None where it holds only one, and for any other file.
        index: Row of the array; None for all of it.
    """

    file: Path
    array: str | None = None
    index: int | None = None

    @property
    def is_array(self) -> bool:
        """Whether the file holds numpy arrays."""
        return self.file.suffix.lower() in {".npy", ".npz"}


def place_of(folder: Path, path: str) -> Place:
    """The place that a manifest names: ``a.png``, ``a.npz``, ``a.npz#frames``, ``a.npy#17``, ``a.npz#x/17``.

    Args:
        folder: Of the manifest.
        path: As it stands there.

    Raises:
        ImageUnreadable: What stands behind the ``#`` is neither an array's name nor a row.
    """
    found = _OF_ARRAY.fullmatch(path)
    if found is None:
        return Place(folder / path)
    file, part = folder / found[1], found[2]
    array, _, row = part.rpartition("/")
    if row.isdecimal():
        return Place(file, array or None, int(row))
    if "/" in part or not part or file.suffix.lower() == ".npy":
        raise ImageUnreadable(f"{file}: a row of an array is named like #train_images/17")
    return Place(file, part)
