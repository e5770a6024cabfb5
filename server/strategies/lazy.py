"""Combining updates piece by piece, so that memory does not grow with sites or model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.update import Contribution
from common.weights import ArraySpec, LazyWeights, Weights, piece_of, spec_of
from server.strategies.staleness import weight_of


class WeightedMean(LazyWeights):
    """``sum_i n_i delta_i / sum_i n_i`` in float64, with n the cases: FedAvg (McMahan et al. 2017, Alg. 1).

    The order of the sums, and so their rounding, is Flower's. A late update weighs less; see
    :mod:`server.strategies.staleness`.

    Args:
        contributions: In site order; at least one.
        round_number: The round that they count in.
    """

    def __init__(self, contributions: Sequence[Contribution], round_number: int) -> None:
        weights = [weight_of(each, round_number) for each in contributions]
        total = sum(weights)
        self._parts = [(each.delta, n / total) for each, n in zip(contributions, weights, strict=True)]
        self._like = contributions[0].delta

    def __iter__(self) -> Iterator[str]:
        return iter(self._like)

    def __len__(self) -> int:
        return len(self._like)

    def spec(self, name: str) -> ArraySpec:
        """What an array is."""
        return ArraySpec(np.dtype(np.float64), spec_of(self._like, name).shape)

    def piece(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Some of an array's values, in C order."""
        total = np.zeros(stop - start)
        for delta, share in self._parts:
            total += piece_of(delta, name, start, stop).astype(np.float64) * share
        return total


class Piecewise(LazyWeights):
    """What a rule that looks at one value at a time makes of the updates, in float64.

    Args:
        contributions: In site order; at least one.
        rule: Combines contributions of a piece of an array.
    """

    def __init__(
        self, contributions: Sequence[Contribution], rule: Callable[[Sequence[Contribution]], Weights]
    ) -> None:
        self._contributions, self._rule = contributions, rule
        self._like = contributions[0].delta

    def __iter__(self) -> Iterator[str]:
        return iter(self._like)

    def __len__(self) -> int:
        return len(self._like)

    def spec(self, name: str) -> ArraySpec:
        """What an array is."""
        return ArraySpec(np.dtype(np.float64), spec_of(self._like, name).shape)

    def piece(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Some of an array's values, in C order."""
        parts = [
            replace(each, delta={name: piece_of(each.delta, name, start, stop)})
            for each in self._contributions
        ]
        return np.asarray(self._rule(parts)[name])
