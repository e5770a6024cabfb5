"""Gaussian noise out of bytes: those of the operating system's secret source, or in a simulation seeded ones.

A source is a ``random.Random``. ``secrets.SystemRandom`` is one, and asks the operating system every time.
"""

from __future__ import annotations

import math
import random
from secrets import SystemRandom

import numpy as np
from numpy.typing import NDArray

from common.seeds import generator

_DRAWS = 4


def source_of(noise_seed: int | None, *purpose: str | int) -> random.Random:
    """The operating system's secret source; with a seed (in simulations) one that can be had again."""
    return SystemRandom() if noise_seed is None else generator(noise_seed, *purpose)


def gaussian(source: random.Random, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Independent standard normal values of this shape.

    Each is half the sum of four, so that the rounding of a single floating-point draw, by which its sum with
    a secret could be told apart (Mironov 2012), can no longer be searched (Holohan and Braghin 2021, Sec. 3).
    """
    total: NDArray[np.float64] = np.zeros(shape)
    for _ in range(_DRAWS):
        total += _box_muller(source, shape)
    return total / math.sqrt(_DRAWS)


def _box_muller(source: random.Random, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """``sqrt(-2 ln u) cos(2 pi v)`` for uniform u in (0, 1] and v in [0, 1) (Box and Muller 1958)."""
    radius = np.sqrt(-2.0 * np.log(1.0 - _uniform(source, shape)))
    return np.asarray(radius * np.cos(2.0 * np.pi * _uniform(source, shape)))


def _uniform(source: random.Random, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Multiples of 2^-53 in [0, 1)."""
    count = int(np.prod(shape))
    bits = np.frombuffer(source.randbytes(8 * count), dtype="<u8") >> np.uint64(11)
    return (bits.astype(np.float64) * 2.0**-53).reshape(shape)
