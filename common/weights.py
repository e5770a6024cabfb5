"""A model's weights as named NumPy arrays: named by digest, moved as deltas, kept as safetensors.

Invariant: names, shapes and dtypes of a model's weights are those of its torch ``state_dict``.

A model may be larger than what there is to spare in memory, and a round has one for each site. So weights may
be lazy: read from a file, or worked out, in pieces and when they are asked for.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from common.errors import WeightsDamaged
from common.files import written_atomically

Weights = Mapping[str, NDArray[Any]]

PIECE = 2**17
"""Elements of an array that are worked at together: what fits into a cache, or nearly."""

STUDY_TEXT = "consilium.study"
"""Key under which a finished model's file holds its study's canonical text."""

_DTYPES = {
    "BOOL": "|b1", "U8": "|u1", "I8": "|i1", "U16": "<u2", "I16": "<i2", "F16": "<f2", "U32": "<u4",
    "I32": "<i4", "F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8",
}  # fmt: skip
_CODES = {np.dtype(text): code for code, text in _DTYPES.items()}
_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 100 * 2**20  # as the format's own reader has it


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """What an array is, without its values."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many values there are."""
        return math.prod(self.shape)


class LazyWeights(Mapping[str, NDArray[Any]], ABC):
    """Weights whose values are made when they are asked for, and not kept."""

    @abstractmethod
    def spec(self, name: str) -> ArraySpec:
        """What an array is, without its values."""

    @abstractmethod
    def piece(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Some of an array's values, in C order."""

    def __getitem__(self, name: str) -> NDArray[Any]:
        spec = self.spec(name)
        values: NDArray[Any] = np.empty(spec.size, spec.dtype)
        for start, stop in spans(spec.size):
            values[start:stop] = self.piece(name, start, stop)
        return values.reshape(spec.shape)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an array lies in a file, in C order: what it is, and the byte at which it begins."""

    spec: ArraySpec
    begin: int


class FileWeights(LazyWeights):
    """The weights at known places of a file, in the order of their names.

    Args:
        path: The file, which must not change while this is used.
        places: Where they lie.
    """

    def __init__(self, path: Path, places: Mapping[str, Place]) -> None:
        self.path = path
        self._places = dict(sorted(places.items()))

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def spec(self, name: str) -> ArraySpec:
        """What an array is."""
        return self._places[name].spec

    def piece(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Some of an array's values, in C order.

        Raises:
            WeightsDamaged: They cannot be read any more.
        """
        place = self._places[name]
        dtype = place.spec.dtype
        values: NDArray[Any] = np.empty(stop - start, dtype)
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(place.begin + start * dtype.itemsize)
                if file.readinto(values.view(np.uint8).data if values.size else b"") != values.nbytes:
                    raise WeightsDamaged(f"{self.path} is cut short")
        except OSError as error:
            raise WeightsDamaged(f"{self.path}: {error}") from None
        return values


class StoredWeights(FileWeights):
    """The weights in a safetensors file.

    Args:
        path: The file, which must not change while this is used.

    Raises:
        WeightsDamaged: It is no such file, or cut short.
    """

    def __init__(self, path: Path) -> None:
        try:
            super().__init__(path, _read_header(path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsDamaged(f"{path}: {error}") from None


class Moved(LazyWeights):
    """``base + delta`` in the base's dtypes, however precise the delta is."""

    def __init__(self, base: Weights, delta: Weights) -> None:
        self._base, self._delta = base, delta

    def __iter__(self) -> Iterator[str]:
        return iter(self._base)

    def __len__(self) -> int:
        return len(self._base)

    def spec(self, name: str) -> ArraySpec:
        """What an array is."""
        return spec_of(self._base, name)

    def piece(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Some of an array's values, in C order."""
        base = piece_of(self._base, name, start, stop)
        return np.asarray((base + piece_of(self._delta, name, start, stop)).astype(base.dtype))


def spec_of(weights: Weights, name: str) -> ArraySpec:
    """What an array is, without reading its values."""
    if isinstance(weights, LazyWeights):
        return weights.spec(name)
    array = np.asarray(weights[name])
    return ArraySpec(array.dtype, array.shape)


def piece_of(weights: Weights, name: str, start: int, stop: int) -> NDArray[Any]:
    """Some of an array's values, in C order."""
    if isinstance(weights, LazyWeights):
        return weights.piece(name, start, stop)
    return np.asarray(weights[name], order="C").reshape(-1)[start:stop]


def pieces_of(weights: Weights, name: str) -> Iterator[NDArray[Any]]:
    """All of an array's values in C order, at most ``PIECE`` at a time."""
    for start, stop in spans(spec_of(weights, name).size):
        yield piece_of(weights, name, start, stop)


def spans(size: int) -> Iterator[tuple[int, int]]:
    """Where the pieces of an array of this many values begin and end."""
    for start in range(0, size, PIECE):
        yield start, min(start + PIECE, size)


def digest(weights: Weights) -> str:
    """SHA-256 over name, dtype, shape and little-endian bytes of every array in name order, in hex."""
    sha = hashlib.sha256()
    for name in sorted(weights):
        spec = spec_of(weights, name)
        little = spec.dtype.newbyteorder("<")
        sha.update(f"{name}\0{little.str}\0{spec.shape}\0".encode())
        for piece in pieces_of(weights, name):
            sha.update(piece.astype(little, copy=False).data.cast("B"))
    return sha.hexdigest()


def subtract(new: Weights, base: Weights) -> dict[str, NDArray[Any]]:
    """``new - base``, array by array: the delta that a site sends."""
    return {name: np.asarray(new[name] - base[name]) for name in base}


def norm(weights: Weights) -> float:
    """Euclidean norm over all arrays, summed in float64."""
    total = 0.0
    for name in weights:
        # Piece by piece also where it is in memory: the squares would be an array twice as large.
        total += sum(float(np.square(piece, dtype=np.float64).sum()) for piece in pieces_of(weights, name))
    return math.sqrt(total)


def save_weights(path: Path, weights: Weights, about: Mapping[str, str]) -> StoredWeights:
    """Write a safetensors file atomically; equal weights and ``about`` give equal bytes.

    Returns:
        The same weights, as they lie there.

    Raises:
        DiskFull, OutputUnwritable: It cannot be written; nothing is left.
    """
    with weights_writer(path, {name: spec_of(weights, name) for name in weights}, about) as write:
        for name in sorted(weights):
            for piece in pieces_of(weights, name):
                write(piece)
    return StoredWeights(path)


class _Writer:
    """Takes the values of one array after the other."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __call__(self, values: NDArray[Any]) -> None:
        self._file.write(values.astype(values.dtype.newbyteorder("<"), copy=False).data.cast("B"))


@contextmanager
def weights_writer(path: Path, specs: Mapping[str, ArraySpec], about: Mapping[str, str]) -> Iterator[_Writer]:
    """Write a safetensors file in pieces; it appears whole when the block ends, or not at all.

    Args:
        path: Where.
        specs: What arrays there will be. Their values come in the order of their names, each in C order.
        about: What to say of them.

    Raises:
        DiskFull, OutputUnwritable: It cannot be written; nothing is left.
    """
    with written_atomically(path) as file:
        header = _header(specs, about)
        file.write(len(header).to_bytes(_LENGTH_BYTES, "little") + header)
        yield _Writer(file)
        expected = _LENGTH_BYTES + len(header) + sum(s.size * s.dtype.itemsize for s in specs.values())
        assert file.tell() == expected  # noqa: S101  who calls this wrote all of it


def load_weights(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file, all of them in memory."""
    return load_file(path)


def _header(specs: Mapping[str, ArraySpec], about: Mapping[str, str]) -> bytes:
    """The file's header (https://huggingface.co/docs/safetensors), padded so that values are aligned."""
    described: dict[str, Any] = {"__metadata__": _metadata(about)}
    place = 0
    for name in sorted(specs):
        spec = specs[name]
        end = place + spec.size * spec.dtype.itemsize
        described[name] = {
            "dtype": _CODES[spec.dtype.newbyteorder("<")],
            "shape": list(spec.shape),
            "data_offsets": [place, end],
        }
        place = end
    text = json.dumps(described, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


def _metadata(about: Mapping[str, str]) -> dict[str, str]:
    """Short facts in one line; a whole text, whose key has a dot as ``consilium.study``, by itself."""
    short = " ".join(f"{key}={about[key]}" for key in sorted(about) if "." not in key)
    return {"consilium": short, **{key: about[key] for key in sorted(about) if "." in key}}


def _read_header(path: Path) -> dict[str, Place]:
    """What arrays a file holds, by name, and where each begins."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if length > _MOST_HEADER_BYTES:
            raise ValueError("not a safetensors file")
        described = json.loads(file.read(length))
        total = os.fstat(file.fileno()).st_size
    start, places = _LENGTH_BYTES + length, {}
    described.pop("__metadata__", None)
    for name, row in described.items():
        spec = ArraySpec(np.dtype(_DTYPES[row["dtype"]]), tuple(row["shape"]))
        begin, end = row["data_offsets"]
        if end - begin != spec.size * spec.dtype.itemsize or start + end > total:
            raise ValueError("cut short, or not a safetensors file")
        places[name] = Place(spec, start + begin)
    return places
