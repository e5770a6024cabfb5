"""Whole updates through a codec.

Arrays of float32 with two or more dimensions and 1024 or more entries are encoded: the matrices and kernels,
which are nearly all of a model. All others travel as they are: whole numbers (counters, which no rounding may
touch), and vectors (biases, scales of norms, statistics of batches): few entries, and each with much weight.

An encoded array NAME travels as one array for each part, ``NAME:PART``, a vector in C order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common.codecs.codec import Codec
from common.errors import UpdateRefused
from common.weights import Weights

LEAST_ENTRIES = 1024
"""Below it the whole array is at most 4 KB."""


class Form(Protocol):
    """What an array is, without its values; an array has one."""

    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """An update as it travels.

    Attributes:
        arrays: What travels, by the names that it travels under.
        left_out: What the coordinator will not see of each encoded array; empty for a codec without feedback.
            None if the update is not finite: it will be refused, and nothing of it can be carried on.
    """

    arrays: dict[str, NDArray[Any]]
    left_out: dict[str, NDArray[np.float32]] | None


def encodes(codec: Codec, form: Form) -> bool:
    """Whether a codec encodes an array; coordinator and site know it from the model alone."""
    return (
        bool(codec.parts)
        and form.dtype == np.float32
        and len(form.shape) > 1
        and math.prod(form.shape) >= LEAST_ENTRIES
    )


def carried(delta: Weights, left_out: Weights) -> dict[str, NDArray[Any]]:
    """The update with what earlier ones left out added to it."""
    return {
        name: np.add(array, left_out[name]) if name in left_out else array for name, array in delta.items()
    }


def encode(codec: Codec, update: Weights) -> Encoded:
    """The update as it travels, and what of it does not."""
    arrays: dict[str, NDArray[Any]] = {}
    left_out: dict[str, NDArray[np.float32]] = {}
    for name, array in update.items():
        if not encodes(codec, array):
            arrays[name] = array
            continue
        values = np.ascontiguousarray(array).reshape(-1)
        parts = codec.encode(values)
        arrays |= {f"{name}:{part}": parts[part] for part in codec.parts}
        if codec.feedback and np.isfinite(values).all():
            rest = codec.decode(parts, values.size)
            left_out[name] = np.subtract(values, rest, out=rest).reshape(array.shape)
    whole = not codec.feedback or all(_finite(update[name], left_out.get(name)) for name in update)
    return Encoded(arrays, left_out if whole else None)


def decode(codec: Codec, encoded: Weights, like: Mapping[str, Form]) -> dict[str, NDArray[Any]]:
    """The update that ``encoded`` stands for. Arrays that travel as they are are left to the gate.

    Args:
        codec: The study's.
        encoded: As it arrived.
        like: The model's arrays; only their shapes and types are looked at.

    Raises:
        UpdateRefused: It is not what the codec makes of such arrays.
    """
    wanted = {travelling for name in like for travelling in _names(codec, name, like[name])}
    if encoded.keys() != wanted:
        raise UpdateRefused(f"arrays missing or unknown: {sorted(encoded.keys() ^ wanted)[:5]}")
    return {name: _decoded(codec, encoded, name, like[name]) for name in like}


def _decoded(codec: Codec, encoded: Weights, name: str, form: Form) -> NDArray[Any]:
    if not encodes(codec, form):
        return encoded[name]
    parts = {part: encoded[f"{name}:{part}"] for part in codec.parts}
    try:
        return codec.decode(parts, math.prod(form.shape)).reshape(form.shape)
    except UpdateRefused as error:
        raise UpdateRefused(f"{name}: {error.private}") from None


def _names(codec: Codec, name: str, form: Form) -> list[str]:
    return [f"{name}:{part}" for part in codec.parts] if encodes(codec, form) else [name]


def _finite(array: NDArray[Any], rest: NDArray[np.float32] | None) -> bool:
    """Whether an array is finite; of an encoded one its rest says it, which also tells of an overflow."""
    return bool(np.isfinite(array if rest is None else rest).all())
