"""A small model with every kind of array, and updates of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.update import Contribution
from common.weights import Weights

BASE: Weights = {
    "w": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
    "b": np.zeros(3, dtype=np.float32),
    "norm.running_mean": np.zeros(3, dtype=np.float32),
    "norm.running_var": np.ones(3, dtype=np.float32),
    "norm.num_batches_tracked": np.array(7, dtype=np.int64),
}


def along(direction: NDArray[Any], length: float, counted: int = 0) -> Weights:
    """An update of ``BASE`` whose learnt arrays are one vector of 6 + 3 + 3 + 3 numbers, of this length."""
    vector = (direction / np.linalg.norm(direction) * length).astype(np.float32)
    return {
        "w": vector[:6].reshape(2, 3),
        "b": vector[6:9],
        "norm.running_mean": vector[9:12],
        "norm.running_var": vector[12:],
        "norm.num_batches_tracked": np.array(counted, dtype=np.int64),
    }


def given(site: str, delta: Weights, cases: int = 100, number: int = 1) -> Contribution:
    return Contribution(site, number, "", delta, cases, 0.5)
