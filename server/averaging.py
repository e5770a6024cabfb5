"""The model that a study keeps: the mean of its last rounds' models.

The last steps of noisy training wander around the place where they would come to rest; their mean is nearer
to it (Polyak and Juditsky 1992). It is made of models that were released anyway, so it costs no privacy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.weights import ArraySpec, LazyWeights, Weights, piece_of, spec_of


class MeanWeights(LazyWeights):
    """The mean of models, value by value in float64; arrays of whole numbers (counters) are the latest's.

    Args:
        models: Of one study, the latest last; at least one.
    """

    def __init__(self, models: Sequence[Weights]) -> None:
        self._models, self._latest = tuple(models), models[-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._latest)

    def __len__(self) -> int:
        return len(self._latest)

    def spec(self, name: str) -> ArraySpec:
        """What an array is."""
        return spec_of(self._latest, name)

    def piece(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Some of an array's values, in C order."""
        dtype = self.spec(name).dtype
        if dtype.kind != "f":
            return piece_of(self._latest, name, start, stop)
        total = np.sum(
            [piece_of(model, name, start, stop).astype(np.float64) for model in self._models], axis=0
        )
        return np.asarray((total / len(self._models)).astype(dtype))


def mean_weights(models: Sequence[Weights]) -> Weights:
    """The mean of the models, see :class:`MeanWeights`; a single model is returned as it is."""
    return models[-1] if len(models) == 1 else MeanWeights(models)
