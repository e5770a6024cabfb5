"""The model that is kept is the mean of the last ones, and with one of them that one itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from server.averaging import mean_weights

VALUES = arrays.arrays(np.float32, (2, 3), elements=st.floats(-1e6, 1e6, width=32))


def model(values: NDArray[Any], steps: int = 0) -> dict[str, NDArray[Any]]:
    return {"w": values, "b": values[0] * 2, "steps": np.array(steps, dtype=np.int64)}


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_the_mean_is_taken_in_double_precision_and_given_in_the_models(values: list[NDArray[Any]]) -> None:
    mean = mean_weights([model(array, number) for number, array in enumerate(values)])
    assert list(mean) == ["w", "b", "steps"] and mean["w"].dtype == mean["b"].dtype == np.float32
    expected = np.stack(values).astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(mean["w"], expected, rtol=2e-7, atol=1e-9)


@given(VALUES)
def test_equal_models_are_their_own_mean(values: NDArray[Any]) -> None:
    mean = mean_weights([model(values)] * 4)
    assert all(np.array_equal(mean[name], array) for name, array in model(values).items())


def test_one_model_is_kept_as_it_is() -> None:
    only = model(np.full((2, 3), np.float32(1) / 3))
    assert mean_weights([only]) is only


def test_counters_are_those_of_the_latest() -> None:
    models = [model(np.ones((2, 3), dtype=np.float32), steps) for steps in (10, 20, 33)]
    assert mean_weights(models)["steps"] == 33
