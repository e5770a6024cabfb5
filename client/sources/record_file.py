"""Records of measurements in a numpy file, of which a manifest's row names one: ``records.npz#17``.

Arrays: ``table`` (S, 1 + V) float64, the time and then each variable at each of S steps, NaN where it was not
measured, record after record; ``ends`` (C,) int64, where each record's steps end; ``variables`` (V,) text.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.images import Place, read_arrays
from common.errors import ImageMissing, RecordsInvalid

ARRAYS = ("table", "ends", "variables")
Record = tuple[NDArray[np.float64], NDArray[np.float32]]
"""(T,) times and (T, V) values, NaN where not measured."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordFile:
    """A file of records that is open; the arrays are those of the module's text."""

    name: str
    table: NDArray[np.float64]
    ends: NDArray[np.int64]
    variables: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ends)

    def record(self, place: Place) -> Record:
        """The record at a place in this file.

        Raises:
            RecordsInvalid: It has no such record.
        """
        index = place.index
        if index is None or index >= len(self):
            raise RecordsInvalid(f"{self.name} has {len(self)} records, named like {self.name}#17")
        begin = int(self.ends[index - 1]) if index else 0
        steps = self.table[begin : int(self.ends[index])]
        return steps[:, 0], steps[:, 1:].astype(np.float32)


def open_records(path: Path) -> RecordFile:
    """The records in a file.

    Raises:
        RecordsInvalid: It is no such file.
        ImageUnreadable: It cannot be read at all.
    """
    try:
        modified_ns = path.stat().st_mtime_ns
        if path.suffix.lower() != ".npz":
            raise RecordsInvalid(
                f"{path.name} is no file of records, which the study reads; these end in .npz"
            )
        return _opened(path, modified_ns)
    except OSError:
        raise ImageMissing(f"{path} does not exist or cannot be opened") from None


def holds_records(path: Path) -> bool:
    """Whether a file is one of records, by the names of its arrays; it may be broken all the same."""
    if path.suffix.lower() != ".npz":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return {f"{name}.npy" for name in ARRAYS} <= set(archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False  # whoever reads it says what is wrong with it


def write_records(path: Path, variables: Sequence[str], records: Sequence[Record]) -> None:
    """Write records of the same variables into one file."""
    tables = [np.column_stack([times, values.astype(np.float64)]) for times, values in records]
    ends = np.cumsum([len(table) for table in tables], dtype=np.int64)
    table = np.concatenate([np.zeros((0, 1 + len(variables))), *tables])
    np.savez(path, table=table, ends=ends, variables=np.array(list(variables), dtype=np.str_))


@lru_cache(maxsize=4)
def _opened(path: Path, modified_ns: int) -> RecordFile:
    table, ends, variables = read_arrays(path, ARRAYS)
    if not _fits(table, ends, variables):
        raise RecordsInvalid(f"{path.name} holds no records: {', '.join(ARRAYS)} do not fit each other")
    return RecordFile(path.name, table, ends, tuple(str(name) for name in variables.tolist()))


def _fits(table: NDArray[Any], ends: NDArray[Any], variables: NDArray[Any]) -> bool:
    if (table.ndim, ends.ndim, variables.ndim) != (2, 1, 1) or table.dtype != np.float64:
        return False
    if ends.dtype.kind != "i" or variables.dtype.kind != "U" or table.shape[1] != 1 + len(variables):
        return False
    lengths = np.diff(ends, prepend=0)
    return bool((lengths > 0).all()) and len(table) == (int(ends[-1]) if len(ends) else 0)
