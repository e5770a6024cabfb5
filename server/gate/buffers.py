"""Arrays of a model that no gradient makes: counters, and the statistics of batches.

No model of Consilium's has any today: its encoders normalise within a picture, and the fixed features of
``hog`` hold no state. So that a model with batch normalisation can come without a surprise, this holds:

*   **Counters** are the arrays of whole numbers, as ``num_batches_tracked``. They have no part in a norm, in
    a cosine or in a strategy: forty batches counted would outweigh all that was learnt. Each becomes the
    lower median of what the sites have it at, so it is a whole number that a site sent, in the model's own
    dtype, and fewer than half of the sites cannot put it anywhere else. With ``[privacy.sites]`` it stays
    as it is: no noise is on it.
*   **Statistics of batches**, ``running_mean`` and ``running_var``, are combined as weights are. A variance
    below zero is refused from a site, and held at zero where a strategy with momentum would take it there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UpdateRefused
from common.update import Contribution
from common.weights import ArraySpec, Weights, spec_of

MOST_COUNTED = 2**40
"""By which a counter may move in a round: 100,000 rounds of it stay far from the end of 64 bits."""
VARIANCE = "running_var"


@dataclass(frozen=True, slots=True, eq=False)
class _Part(Mapping[str, NDArray[Any]]):
    """Some arrays of ``whole``, read when they are asked for."""

    whole: Weights
    names: tuple[str, ...]

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self.names:
            raise KeyError(name)
        return self.whole[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def counts(array: NDArray[Any] | ArraySpec) -> bool:
    """Whether an array holds whole numbers."""
    return array.dtype.kind in "iu"


def is_buffer(name: str, spec: ArraySpec) -> bool:
    """Whether no gradient makes an array, and its values are bounded: a counter, or a variance."""
    return counts(spec) or name.rpartition(".")[2] == VARIANCE


def learnt(weights: Weights, base: Weights) -> Weights:
    """The arrays of ``weights`` that are no counters in ``base``, in the base's order; none is read."""
    names = tuple(name for name in base if not counts(spec_of(base, name)))
    return weights if names == tuple(weights) else _Part(weights, names)


def check_buffer(name: str, change: NDArray[Any], base: NDArray[Any]) -> None:
    """Let the change of an array pass, if it is no buffer or leaves it a value that it can have.

    Args:
        name: The array's.
        change: Of the base's shape and dtype, finite.
        base: What it is a change of.

    Raises:
        UpdateRefused: A counter would fall below zero, leave its dtype or move by more than any count; a
            variance would be below zero.
    """
    if counts(base):
        moved, there = _signed(change), base.astype(np.int64)
        if (moved > MOST_COUNTED).any() or (moved < -MOST_COUNTED).any():
            raise UpdateRefused(f"{name} is a counter and moves by more than {MOST_COUNTED}")
        value = there + moved
        if (value < np.minimum(there, 0)).any() or (value > np.iinfo(base.dtype).max).any():
            raise UpdateRefused(f"{name} is a counter and would leave what {base.dtype} counts")
    elif name.rpartition(".")[2] == VARIANCE and (base + change < 0).any():
        raise UpdateRefused(f"{name} is a variance and would be below zero")


def complete(base: Weights, delta: Weights, contributions: Sequence[Contribution]) -> Weights:
    """A strategy's change of what is learnt, with the change of the counters, in the base's order.

    Args:
        base: The model.
        delta: What the strategy made of the contributions' learnt arrays.
        contributions: Whose counters count, admitted; none where no site may show.

    Returns:
        Changes in the strategy's own precision; those of counters in int64. The strategy's own, where the
        model has no such arrays.
    """
    if not any(is_buffer(name, spec_of(base, name)) for name in base):
        return delta
    return {
        name: _counted(name, array, contributions) if counts(array) else _held(name, array, delta[name])
        for name, array in base.items()
    }


def _counted(name: str, base: NDArray[Any], contributions: Sequence[Contribution]) -> NDArray[Any]:
    if not contributions:
        return np.zeros(base.shape, dtype=np.int64)
    moved = np.sort(np.stack([_signed(one.delta[name]) for one in contributions]), axis=0)
    return np.asarray(moved[(len(moved) - 1) // 2])


def _held(name: str, base: NDArray[Any], change: NDArray[Any]) -> NDArray[Any]:
    if name.rpartition(".")[2] != VARIANCE:
        return change
    held: NDArray[Any] = np.maximum(change, -base)
    return held


def _signed(array: NDArray[Any]) -> NDArray[np.int64]:
    """Differences of whole numbers as int64; those of unsigned ones have wrapped round, and are put right."""
    return array.astype(f"i{array.dtype.itemsize}").astype(np.int64)
