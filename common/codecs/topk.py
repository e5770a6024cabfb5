"""``codec = "topk"``: of every array the share of its entries that is largest in magnitude, and no others.

What is left out is added to the next update (Stich et al. 2018, "Sparsified SGD with Memory"). Of entries of
equal magnitude the one nearer the array's beginning is sent. One that is not finite comes before all others,
so that the gate sees it.

The parts are ``values``: float32, the entries in the order of their places; and ``gaps``: how far each place
lies behind the one before it, the first one behind place -1. Gaps are at least 1, so no place can come twice.
They are uint16, or uint32 where one does not fit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.codecs.part import checked
from common.errors import UpdateRefused


@dataclass(frozen=True, slots=True)
class TopK:
    """See the module.

    Attributes:
        fraction: Share of an array's entries that is sent, at least one of them.
    """

    fraction: float
    parts: tuple[str, ...] = ("gaps", "values")
    feedback: bool = True

    def kept(self, size: int) -> int:
        """How many of so many entries are sent."""
        return max(1, math.ceil(self.fraction * size))

    def encode(self, values: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """``{"gaps": (k,) uint16 or uint32, "values": (k,) float32}``."""
        places = _largest(values, self.kept(values.size))
        gaps = np.diff(places, prepend=-1)
        return {"gaps": gaps.astype(_unsigned(int(gaps.max()))), "values": values[places]}

    def decode(self, parts: Mapping[str, NDArray[Any]], size: int) -> NDArray[np.float32]:
        """The values: (size,), zero where none was sent.

        Raises:
            UpdateRefused: As of every codec; and of places outside the array, or not one after the other.
        """
        kept = self.kept(size)
        gaps = checked(parts["gaps"], "gaps", kept, np.uint16, np.uint32)
        sent = checked(parts["values"], "values", kept, np.float32)
        places = np.cumsum(gaps, dtype=np.int64) - 1
        if gaps.min() == 0 or places[-1] >= size:
            raise UpdateRefused(f"gaps that do not lead through {size} entries")
        values: NDArray[np.float32] = np.zeros(size, np.float32)
        values[places] = sent
        return values


def _largest(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Places of the ``count`` largest magnitudes, in order."""
    magnitudes = np.abs(values)
    magnitudes[np.isnan(magnitudes)] = np.inf
    least = np.partition(magnitudes, values.size - count)[values.size - count]
    chosen = magnitudes > least
    ties = np.flatnonzero(magnitudes == least)[: count - int(np.count_nonzero(chosen))]
    chosen[ties] = True
    return np.flatnonzero(chosen)


def _unsigned(most: int) -> type[np.uint16] | type[np.uint32]:
    return np.uint16 if most <= np.iinfo(np.uint16).max else np.uint32
