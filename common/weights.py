"""A model's weights as named NumPy arrays: named by digest, moved as deltas, kept as safetensors.

Invariant: names, shapes and dtypes of a model's weights are those of its torch ``state_dict``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from common.files import write_atomically

Weights = Mapping[str, NDArray[Any]]


def digest(weights: Weights) -> str:
    """SHA-256 over name, dtype, shape and little-endian bytes of every array in name order, in hex."""
    sha = hashlib.sha256()
    for name in sorted(weights):
        array = np.asarray(weights[name], order="C")
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        sha.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        sha.update(array.data.cast("B") if array.size else b"")
    return sha.hexdigest()


def subtract(new: Weights, base: Weights) -> dict[str, NDArray[Any]]:
    """``new - base``, array by array: the delta that a site sends."""
    return {name: np.asarray(new[name] - base[name]) for name in base}


def add(base: Weights, delta: Weights) -> dict[str, NDArray[Any]]:
    """``base + delta`` in the base's dtypes, however precise the delta is."""
    return {name: np.asarray((array + delta[name]).astype(array.dtype)) for name, array in base.items()}


def norm(weights: Weights) -> float:
    """Euclidean norm over all arrays, summed in float64."""
    return math.sqrt(sum(float(np.square(a, dtype=np.float64).sum()) for a in weights.values()))


def save_weights(path: Path, weights: Weights, about: Mapping[str, str]) -> None:
    """Write a safetensors file atomically; equal weights and ``about`` give equal bytes."""
    arrays = {name: np.asarray(weights[name], order="C") for name in sorted(weights)}
    # safetensors writes metadata in the order of a hash map, which differs from process to process:
    # one entry has only one order.
    described = {"consilium": " ".join(f"{key}={about[key]}" for key in sorted(about))}
    write_atomically(path, save(arrays, described))


def load_weights(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file."""
    return load_file(path)
