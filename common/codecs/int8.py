"""``codec = "int8"``: every value as a multiple, from -127 to 127, of one scale for each block of 4096.

    scale = max |x| / 127        code = round(x / scale)        x is about code * scale

A scale for each block and not for each array: a large entry makes coarse only what lies near it, and 4096
values share four bytes. A value is off by at most half a scale; what is left out is added to the next update.

The parts are ``int8``: int8, one for each value; and ``scales``: float32, one for each block. A block that is
not finite has a scale that is not, which the coordinator refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.codecs.part import PIECE, checked, spans
from common.errors import UpdateRefused

BLOCK = 4096
MOST = 127
assert PIECE % BLOCK == 0  # noqa: S101  so that no block lies in two pieces


@dataclass(frozen=True, slots=True)
class Int8:
    """See the module."""

    parts: tuple[str, ...] = ("int8", "scales")
    feedback: bool = True

    def encode(self, values: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """``{"int8": (N,) int8, "scales": (ceil(N / BLOCK),) float32}``."""
        codes: NDArray[np.int8] = np.empty(values.size, np.int8)
        scales = []
        for span in spans(values.size):
            rows = _rows(values[span])
            scale = np.maximum(rows.max(axis=1), -rows.min(axis=1)) / np.float32(MOST)
            codes[span] = _codes(rows, scale).reshape(-1)[: values[span].size]
            scales.append(scale)
        return {"int8": codes, "scales": np.concatenate(scales)}

    def decode(self, parts: Mapping[str, NDArray[Any]], size: int) -> NDArray[np.float32]:
        """The values: (size,).

        Raises:
            UpdateRefused: As of every codec; and of a scale that is negative or not finite.
        """
        codes = checked(parts["int8"], "int8 values", size, np.int8)
        scales = checked(parts["scales"], "scales", -(-size // BLOCK), np.float32)
        if not (np.isfinite(scales) & (scales >= 0)).all():
            raise UpdateRefused("a scale is negative or not finite")
        if codes.min() < -MOST:
            raise UpdateRefused(f"an int8 value below -{MOST}")
        values = codes.astype(np.float32)
        with np.errstate(over="ignore"):  # of scales that no update has: the gate refuses what is infinite
            whole = size // BLOCK * BLOCK
            values[:whole].reshape(-1, BLOCK)[...] *= scales[: whole // BLOCK, None]
            values[whole:] *= scales[-1]
        return values


def _rows(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The values as blocks, the last one filled up with zeros: (blocks, BLOCK)."""
    missing = -values.size % BLOCK
    return (np.pad(values, (0, missing)) if missing else values).reshape(-1, BLOCK)


def _codes(rows: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Whole numbers from -MOST to MOST. Zero where the scale is too small to divide by, or not finite."""
    usable = np.isfinite(scale) & (scale > 0)
    codes: NDArray[np.float32] = np.divide(rows, np.where(usable, scale, np.float32(1))[:, None])
    codes[~usable] = 0
    np.rint(codes, out=codes)
    return np.clip(codes, -MOST, MOST, out=codes)  # a scale near 0 has few bits, and may be too small


INT8 = Int8()
