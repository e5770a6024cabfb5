"""How a picture becomes a sequence: the same function for every site, so that steps mean the same.

Invariants: nothing is cut away. A picture is resampled first, to the study's size or to its spacing, and
each pixel of the result stands in exactly one step.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from common.study import Patches, Rows

Array = TypeVar("Array", NDArray[Any], torch.Tensor)


def standardise(pixels: NDArray[Any]) -> NDArray[Any]:
    """The picture with mean 0 and standard deviation 1; a constant picture becomes zeros.

    Statistics are the picture's own, so no figure about other patients enters.
    """
    centred: NDArray[Any] = pixels - pixels.mean()
    deviation = float(centred.std())
    return centred / deviation if deviation > 1e-6 else centred * 0.0


def to_steps(pixels: Array, sequence: Rows | Patches) -> Array:
    """Pictures of the study's size as steps.

    Args:
        pixels: (..., size, size).
        sequence: The study's ``[sequence]``.

    Returns:
        (..., steps, height * width of a step), of the same type.
    """
    if isinstance(sequence, Rows):
        return pixels
    count, patch, before = sequence.size // sequence.patch, sequence.patch, pixels.shape[:-2]
    squares = pixels.reshape(*before, count, patch, count, patch).swapaxes(-3, -2)
    steps = squares.reshape(*before, count * count, patch * patch)
    return steps if sequence.order == "raster" else steps[..., hilbert(count), :]


def from_steps(steps: Array, sequence: Rows | Patches) -> Array:
    """The pictures that steps are of: the inverse of :func:`to_steps`.

    Args:
        steps: (..., steps, height * width of a step).
        sequence: The study's ``[sequence]``.

    Returns:
        (..., size, size), of the same type.
    """
    if isinstance(sequence, Rows):
        return steps
    count, patch, before = sequence.size // sequence.patch, sequence.patch, steps.shape[:-2]
    if sequence.order == "hilbert":
        steps = steps[..., np.argsort(hilbert(count)), :]
    squares = steps.reshape(*before, count, count, patch, patch).swapaxes(-3, -2)
    return squares.reshape(*before, sequence.size, sequence.size)


@lru_cache(maxsize=8)
def hilbert(side: int) -> NDArray[np.int64]:
    """(side * side,) places in raster order, in the order in which Hilbert's curve visits them.

    Each is beside the one before (Hilbert 1891); ``side`` is a power of two.
    """
    curve = np.zeros((1, 1), dtype=np.int64)  # when a place is visited
    while len(curve) < side:
        quarter = curve.size
        above = np.hstack([curve.T, curve[::-1, ::-1].T + 3 * quarter])
        curve = np.vstack([above, np.hstack([curve + quarter, curve + 2 * quarter])])
    visited: NDArray[np.int64] = np.argsort(curve, axis=None)
    return visited
