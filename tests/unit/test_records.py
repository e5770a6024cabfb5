"""Records as steps: on a grid of times, with old values kept or not, and nothing that was not measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from client.records import grid_length, record_steps
from common.errors import CaseTooWide, CohortUnsuitable
from common.study import Steps, Study, parse_study

NAN = np.nan
Times = NDArray[np.float64]
Values = NDArray[np.float32]


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


def test_a_kept_value_is_what_was_measured_last_and_says_that_it_is_old() -> None:
    times, values = [0.0, 60.0, 120.0, 180.0], [[NAN, 5], [1, NAN], [NAN, NAN], [2, NAN]]
    assert steps_of(times, values, study_of(60.0, fill="last")) == [
        [0, 5, 0, 1, 0, 0],
        [1, 5, 1, 0, 1, 1],
        [1, 5, 0, 0, 1, 2],
        [2, 5, 1, 0, 2, 3],
    ]


def test_a_value_beyond_the_limit_enters_as_the_limit() -> None:
    found = steps_of([0.0, 1.0], [[735, -9], [3, NAN]], study_of(None, limit=4.0, time_scale=1.0))
    assert found == [[4, -4, 1, 1, 0, 0], [3, 0, 1, 0, 1, 1]]


def test_what_is_not_plausible_is_as_if_not_measured() -> None:
    study = study_of(None, plausible={"a": [6.5, 7.8]})
    assert steps_of([0.0, 60.0, 120.0], [[735, NAN], [7.8, 1], [6.0, 2]], study) == [
        [pytest.approx(7.8), 1, 1, 1, 0, 0],
        [0, 2, 0, 1, 1, 1],
    ]


def test_a_category_is_a_column_that_is_0_or_1() -> None:
    study = study_of(None, categories={"pain": [1, 2, 4]}, limit=0.5)
    times, values = np.array([0.0, 60.0, 120.0]), np.array([[1, NAN, 4], [NAN, NAN, 3], [0, NAN, NAN]])
    found = record_steps(times, values.astype(np.float32), ("a", "b", "pain"), study)
    assert found.tolist() == [
        [0.5, 0, 0, 0, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, *[0] * 4, *[2] * 5],
    ]
    assert isinstance(study.sequence, Steps)
    assert study.sequence.columns == ("a", "b", "pain = 1", "pain = 2", "pain = 4")
    assert study.sequence.frame == (1, 15)


def test_a_category_that_the_cohort_lacks_is_refused() -> None:
    with pytest.raises(CohortUnsuitable, match="pain"):
        steps_of([0.0], [[1, 1]], study_of(None, categories={"pain": [1, 2]}))


MEASURED = st.sampled_from([1.0, 2.0, -7.0, NAN])
RECORDS = st.lists(st.tuples(st.integers(0, 40), MEASURED, MEASURED), min_size=1)
KEYS = st.fixed_dictionaries({}, optional={"limit": st.sampled_from([1.5, 9.0])})
GRIDS = st.sampled_from([None, 1.0, 3.0, 7.0])


def arrays_of(record: list[tuple[int, float, float]]) -> tuple[Times, Values]:
    return np.array([float(row[0]) for row in record]), np.array([row[1:] for row in record], np.float32)


@settings(max_examples=200, deadline=None)
@given(RECORDS, GRIDS, KEYS)
def test_keeping_old_values_changes_no_flag_and_no_gap_and_nothing_measured(
    record: list[tuple[int, float, float]], every: float | None, keys: dict[str, Any]
) -> None:
    times, values = arrays_of(record)
    plain, kept = (
        record_steps(times, values, ("a", "b"), study_of(every, fill=fill, **keys)).numpy()
        for fill in ("none", "last")
    )
    assert np.array_equal(plain[:, 2:], kept[:, 2:])
    for variable in range(2):
        expected = 0.0
        for bare, with_old in zip(plain, kept, strict=True):
            expected = bare[variable] if bare[2 + variable] else expected
            assert with_old[variable] == expected


@settings(max_examples=200, deadline=None)
@given(RECORDS, GRIDS, KEYS, st.integers(1, 41))
def test_no_step_knows_what_came_after_it(
    record: list[tuple[int, float, float]], every: float | None, keys: dict[str, Any], points: int
) -> None:
    times, values = arrays_of(record)
    own = np.isfinite(values).any(axis=1)
    if not own.any():
        return
    study = study_of(every, fill="last", **keys)
    whole = record_steps(times, values, ("a", "b"), study).numpy()
    end = times[own].min() + points * (every or 1.0)
    before = record_steps(times[times < end], values[times < end], ("a", "b"), study).numpy()
    assert np.array_equal(whole[: len(before)], before)


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
