"""The model that a study keeps: the mean of its last rounds' models.

The last steps of noisy training wander around the place where they would come to rest; their mean is nearer
to it (Polyak and Juditsky 1992). It is made of models that were released anyway, so it costs no privacy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.weights import Weights


def mean_weights(models: Sequence[Weights]) -> Weights:
    """The mean of the models, array by array in float64; a single model is returned as it is.

    Args:
        models: Of one study, the latest last; at least one. Arrays of whole numbers (counters) are taken
            from the latest.
    """
    latest = models[-1]
    if len(models) == 1:
        return latest
    return {
        name: _mean([m[name] for m in models]) if a.dtype.kind == "f" else a for name, a in latest.items()
    }


def _mean(arrays: Sequence[np.ndarray]) -> np.ndarray:
    total = np.sum([array.astype(np.float64) for array in arrays], axis=0)
    return np.asarray((total / len(arrays)).astype(arrays[-1].dtype))
