"""A record on a grid of times: what was measured last in each stretch, and nothing that was not measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.records import grid_length, record_steps
from common.errors import CaseTooWide
from common.study import Steps, Study, parse_study

NAN = np.nan


def study_of(every: float | None, **sequence: Any) -> Study:
    variables = {name: {"centre": 0.0, "scale": 1.0} for name in ("a", "b")}
    head = {"name": "x", "labels": {"0": "n", "1": "p"}}
    given = {"kind": "steps", "variables": variables, "time_scale": 60.0, **sequence}
    return parse_study({"study": head, "sequence": given if every is None else {**given, "every": every}})


def steps_of(times: list[float], values: list[list[float]], study: Study) -> list[list[float]]:
    found = record_steps(np.array(times), np.array(values, np.float32), ("a", "b"), study)
    steps: list[list[float]] = found.tolist()
    return steps


def test_a_stretch_has_the_last_value_of_each_variable() -> None:
    times, values = [10.0, 20.0, 69.9, 70.0], [[1, 5], [2, NAN], [NAN, 6], [3, NAN]]
    assert steps_of(times, values, study_of(60.0)) == [[2, 6, 1, 1, 0, 0], [3, 0, 1, 0, 1, 1]]


def test_a_stretch_in_which_nothing_was_measured_is_a_step_whose_gaps_grow() -> None:
    found = steps_of([0.0, 180.0], [[1, NAN], [2, 7]], study_of(60.0))
    assert found == [[1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 2, 2], [2, 7, 1, 1, 3, 3]]


def test_order_in_the_table_does_not_matter() -> None:
    times, values, study = [90.0, 0.0, 30.0], [[3, NAN], [1, 9], [2, NAN]], study_of(60.0)
    assert steps_of(times, values, study) == steps_of(sorted(times), [values[1], values[2], values[0]], study)


def test_a_grid_of_too_many_steps_is_refused() -> None:
    with pytest.raises(CaseTooWide, match="61 steps, and the study takes 48"):
        steps_of([0.0, 3600.0], [[1, 1], [1, 1]], study_of(60.0, max_steps=48))
    with pytest.raises(CaseTooWide):
        steps_of([0.0, 1e300], [[1, 1], [1, 1]], study_of(60.0))


def test_nothing_measured_is_one_step() -> None:
    assert steps_of([5.0, 900.0], [[NAN, NAN], [NAN, NAN]], study_of(60.0)) == [[0.0] * 6]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from([1.0, 2.0, NAN]), st.sampled_from([3.0, NAN])),
        min_size=1,
    ),
    st.integers(1, 9),
    st.integers(-50, 50),
)
def test_laws_of_the_grid(record: list[tuple[int, float, float]], every: int, shift: int) -> None:
    times = np.array([float(time) for time, _, _ in record])
    values = np.array([row[1:] for row in record], np.float32)
    study = study_of(float(every))
    found = record_steps(times, values, ("a", "b"), study).numpy()
    moved = record_steps(times + shift, values, ("a", "b"), study).numpy()
    assert np.array_equal(found, moved), "where time begins does not matter"
    assert isinstance(study.sequence, Steps) and len(found) <= grid_length(times, study.sequence)
    for variable in range(2):
        measured = values[np.isfinite(values[:, variable]), variable]
        seen = found[found[:, 2 + variable] == 1, variable]
        assert set(seen.tolist()) <= set(measured.tolist()) and bool(len(seen)) == bool(len(measured))
