"""Updates as vectors: lengths and angles, array by array.

Arrays are read in spans, which are used and let go. Products run over pieces of a fixed size, which are
summed in float64: they are the same whatever number of threads there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.weights import Weights, piece_of, pieces_of, spans, spec_of

PIECE = 2**14
"""Numbers that are multiplied at once: they stay in a cache, and float32 is enough for their sum.

Spans (``common.weights``) hold a whole number of them.
"""
TINY = 1e-30
"""Below it float32 has few digits left."""
NO_DIRECTION = 1e-2
"""Length of a sum of unit vectors that cancel: rounding may be all that is left of it."""


def length(weights: Weights) -> float:
    """Euclidean norm over all arrays as one vector; infinite where its square is no float64."""
    return math.sqrt(sum(_squares(weights, name) for name in weights))


@dataclass(frozen=True, slots=True)
class Direction:
    """Where an update points.

    Attributes:
        cosine: To the mean direction of the others.
        others: How many they are.
        agreement: The mean cosine between two of the others; 0 if there are no two.
    """

    cosine: float
    others: int
    agreement: float


def directions(
    updates: Sequence[Weights], lengths: Sequence[float], heard: Sequence[bool]
) -> list[Direction | None]:
    """Where each update points, seen from the others that are heard.

    Directions, not updates, are averaged: each has one voice, however long it is. With unit vectors u_i,
    their sum S over those heard, and S_i = S - u_i of the n others,

        cosine_i = (u_i . S - 1) / |S_i|,    |S_i|^2 = |S|^2 - 2 u_i . S + 1,
        agreement_i = (|S_i|^2 - n) / (n (n - 1)),

    so one sum and one product an update are enough, one array at a time.

    Args:
        updates: Of equal names and shapes; each array is read twice.
        lengths: Of the updates.
        heard: Which of them make up S; the others are compared with S itself.

    Returns:
        In the order of the updates; None where the update or the others have no direction.
    """
    voices = [1 / size if 0 < size < math.inf else 0.0 for size in lengths]
    weights = [voice if is_heard else 0.0 for voice, is_heard in zip(voices, heard, strict=True)]
    along, square = [0.0] * len(updates), 0.0
    for name in updates[0] if updates else ():
        products, squares = _against_total(name, updates, weights)
        square += squares
        for index, product in enumerate(products):
            along[index] += voices[index] * product
    speaking = sum(weight > 0 for weight in weights)
    return [
        _direction(product, square, speaking, own=weight > 0) if voice else None
        for product, voice, weight in zip(along, voices, weights, strict=True)
    ]


def _direction(along: float, square: float, speaking: int, *, own: bool) -> Direction | None:
    """The direction of a unit vector seen from a sum of unit vectors, its own taken out if it is in it."""
    if own:
        square, along, speaking = square - 2 * along + 1, along - 1, speaking - 1
    size = math.sqrt(max(square, 0.0))
    if speaking < 1 or size < NO_DIRECTION:
        return None
    pairs = speaking * (speaking - 1)
    return Direction(
        max(-1.0, min(1.0, along / size)), speaking, (square - speaking) / pairs if pairs else 0.0
    )


def _against_total(
    name: str, updates: Sequence[Weights], voices: Sequence[float]
) -> tuple[list[float], float]:
    """Products of one array of each update with the sum of them all by their voices, and that sum's square.

    A span of the array at a time, so that nothing as large as a model is made.
    """
    along: list[list[float]] = [[] for _ in updates]
    squares: list[float] = []
    like = spec_of(updates[0], name)
    for start, stop in spans(like.size):
        total = np.zeros(stop - start, np.result_type(like.dtype, np.float32))
        for update, voice in zip(updates, voices, strict=True):
            if voice:
                _put(total, piece_of(update, name, start, stop), voice)
        squares += _products(total, total)
        for found, update in zip(along, updates, strict=True):
            found += _products(piece_of(update, name, start, stop), total)
    return [math.fsum(found) for found in along], math.fsum(squares)


def _put(total: NDArray[Any], values: NDArray[Any], voice: float) -> None:
    for at in range(0, values.size, PIECE):
        total[at : at + PIECE] += voice * values[at : at + PIECE]


def _squares(weights: Weights, name: str) -> float:
    return math.fsum(part for piece in pieces_of(weights, name) for part in _products(piece, piece))


def _products(one: NDArray[Any], other: NDArray[Any]) -> list[float]:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return [_product(one[at : at + PIECE], other[at : at + PIECE]) for at in range(0, one.size, PIECE)]


def _product(one: NDArray[Any], other: NDArray[Any]) -> float:
    """A product in the arrays' own precision, or in float64 where that is too narrow for it."""
    # NumPy's own loops: a BLAS library may share a product among threads, and round it otherwise.
    found = float(np.einsum("i,i->", one, other))
    if TINY < abs(found) < math.inf:
        return found
    return float(np.multiply(one, other, dtype=np.float64).sum())
