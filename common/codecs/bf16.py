"""``codec = "bf16"``: the upper 16 bits of every float32, rounded to nearest, ties to even.

A value keeps its sign, its exponent and 8 significant bits: it is off by at most 1/256 of itself, without
bias, so nothing is fed back. What lies beyond the largest bfloat16 (3.39e38) becomes infinite, and NaN stays
NaN: the gate refuses both. The part is ``bf16``: uint16, one for each value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.codecs.part import checked, spans

_NAN = 0x7FC0


@dataclass(frozen=True, slots=True)
class BFloat16:
    """See the module."""

    parts: tuple[str, ...] = ("bf16",)
    feedback: bool = False

    def encode(self, values: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """``{"bf16": (N,) uint16}``."""
        halves: NDArray[np.uint16] = np.empty(values.size, np.uint16)
        for span in spans(values.size):
            bits = values[span].view(np.uint32)
            rounded = bits >> 16
            rounded &= 1  # a tie goes to the even neighbour
            rounded += 0x7FFF
            rounded += bits  # a carry into the exponent is right; only a NaN could wrap around
            rounded >>= 16
            halves[span] = rounded
            halves[span][np.isnan(values[span])] = _NAN
        return {"bf16": halves}

    def decode(self, parts: Mapping[str, NDArray[Any]], size: int) -> NDArray[np.float32]:
        """The values: (size,).

        Raises:
            UpdateRefused: As of every codec.
        """
        halves = checked(parts["bf16"], "bf16 values", size, np.uint16)
        bits = halves.astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32)


BF16 = BFloat16()
