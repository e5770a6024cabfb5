"""Stored pixel values, and how they become brightness."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

WindowFunction = Literal["linear", "linear-exact", "sigmoid"]


@dataclass(frozen=True, slots=True)
class Window:
    """Which modality values lie between black and white (DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3)."""

    centre: float
    width: float
    function: WindowFunction = "linear"


@dataclass(frozen=True, slots=True)
class Display:
    """How stored values become brightness.

    Attributes:
        slope: Modality value = slope * stored + intercept (0028,1053/1052).
        intercept: See ``slope``.
        inverted: The least value is white (MONOCHROME1).
        window: What is shown unless the study states a window; None for the case's own least to
            greatest value.
        looked_up: The values have gone through a table (palette, VOI LUT) or are luminance: they are
            brightness already, and a window that the study states does not hold for them.
    """

    slope: float = 1.0
    intercept: float = 0.0
    inverted: bool = False
    window: Window | None = None
    looked_up: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """The pictures of one object, grey.

    Attributes:
        frames: (N, H, W) uint8, int8, uint16, int16 or float32, C-contiguous, as stored.
        display: How they are to be shown.
    """

    frames: NDArray[Any]
    display: Display


def digest_of(array: NDArray[Any]) -> str:
    """SHA-256 of an array's type, shape and bytes, in hexadecimal."""
    found = hashlib.sha256(f"{array.dtype.name}{list(array.shape)}".encode())
    found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
