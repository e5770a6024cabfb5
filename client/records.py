"""From a record of measurements to the steps that a model reads.

Invariants: what was not measured is not made up, and its flag is 0; no step knows what came after it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from client.tensors import MOST_STEPS, check_steps
from common.errors import CohortUnsuitable
from common.study import Steps, Study


def record_steps(
    times: NDArray[np.float64],
    values: NDArray[np.float32],
    variables: Sequence[str],
    study: Study,
    name: str = "",
) -> torch.Tensor:
    """A record of measurements as steps: of V columns the scaled values, observed flags and gaps.

    A gap is the time since the variable was last measured before this step, or since the record's first
    step, in units of ``time_scale``: the interval of GRU-D (Che et al. 2018, Sci. Rep. 8:6085). Where a
    variable was not measured its value is 0, or with ``fill = "last"`` what it was when last measured.

    Args:
        times: (T,) float64, when each row was measured.
        values: (T, V') float32, NaN where not measured.
        variables: The V' names of the columns; those the study does not name are ignored, and so is a time
            at which nothing else was measured.
        study: Its ``[sequence]``, of kind steps.
        name: What errors call the case.

    Returns:
        (T'', 3 V) float32, on the CPU, in order of time. A record without any measurement is a single step.

    Raises:
        CaseTooWide: It has more steps than the study allows.
        CohortUnsuitable: The study asks for pictures, or for a variable that the cohort does not have.
    """
    sequence = study.sequence
    if not isinstance(sequence, Steps):
        raise CohortUnsuitable(f"{name}: a record, where the study asks for {sequence.kind}")
    when, scaled = _placed(times, values, variables, sequence, name)
    check_steps(name, len(when), sequence.max_steps)
    observed = ~np.isnan(scaled)
    shown = _carried(scaled, observed) if sequence.fill == "last" else np.where(observed, scaled, 0.0)
    gaps = _gaps(when, observed) / sequence.time_scale
    return torch.from_numpy(np.concatenate([shown, observed, gaps], axis=1).astype(np.float32))


def step_times(
    times: NDArray[np.float64], values: NDArray[np.float32], variables: Sequence[str], sequence: Steps
) -> NDArray[np.float64]:
    """(T'',) time of each step of :func:`record_steps`, in the record's own units.

    Raises:
        CaseTooWide, CohortUnsuitable: As :func:`record_steps`.
    """
    return _placed(times, values, variables, sequence, "")[0]


def grid_length(times: NDArray[np.float64], sequence: Steps) -> int:
    """Most steps that a record with such times can have."""
    if sequence.every is None or not len(times):
        return max(1, len(times))
    return int(min((times.max() - times.min()) / sequence.every, MOST_STEPS)) + 1


def _placed(
    times: NDArray[np.float64],
    values: NDArray[np.float32],
    variables: Sequence[str],
    sequence: Steps,
    name: str,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(T,) times of the steps, on the study's grid if it has one, and (T, V) scaled values or NaN."""
    when, read = _measured(times, values, variables, sequence)
    scaled = _scaled(read, sequence)
    if sequence.every is None:
        return when, scaled
    return _gridded(when, scaled, sequence.every, name, sequence.max_steps)


def _measured(
    times: NDArray[np.float64], values: NDArray[np.float32], variables: Sequence[str], sequence: Steps
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(T,) times at which something that the study names was measured, in order; (T, N) values or NaN."""
    missing = [variable for variable in sequence.names if variable not in variables]
    if missing:
        raise CohortUnsuitable(f"the records lack variables that the study names: {', '.join(missing)}")
    places = [variables.index(name) for name in sequence.names]
    named = _believed(np.asarray(values, np.float32)[:, places], sequence)
    own = np.isfinite(named).any(axis=1)
    if not own.any():
        return np.zeros(1), np.full((1, named.shape[1]), np.nan)
    when = np.asarray(times, dtype=np.float64)[own]
    order = np.argsort(when, kind="stable")
    return when[order], named[own][order]


def _believed(values: NDArray[np.float32], sequence: Steps) -> NDArray[np.float64]:
    """(T, N) values of the study's names; NaN for those that are not plausible, or no known category."""
    known = np.isfinite(values)
    for place, name in enumerate(sequence.names):
        if name in sequence.plausible:
            low, high = np.array(sequence.plausible[name], np.float32)
            known[:, place] &= (values[:, place] >= low) & (values[:, place] <= high)
        elif name in sequence.categories:
            known[:, place] &= np.isin(values[:, place], np.array(sequence.categories[name], np.float32))
    return np.where(known, values, np.nan).astype(np.float64)


def _scaled(values: NDArray[np.float64], sequence: Steps) -> NDArray[np.float64]:
    """(T, N) values as (T, V) columns: scaled and within the limit, or 0 and 1; NaN stays NaN."""
    centre = np.array([variable.centre for variable in sequence.variables.values()])
    scale = np.array([variable.scale for variable in sequence.variables.values()])
    count = len(sequence.variables)
    scaled = (values[:, :count] - centre) / scale
    if sequence.limit is not None:
        scaled = scaled.clip(-sequence.limit, sequence.limit)
    numbers = zip(values[:, count:].T, sequence.categories.values(), strict=True)
    return np.concatenate([scaled, *(_indicators(read, known) for read, known in numbers)], axis=1)


def _indicators(values: NDArray[np.float64], known: Sequence[float]) -> NDArray[np.float64]:
    """(T, K): 1 at the category that was found, 0 at the others, NaN where there was none."""
    found = values[:, None] == np.array(known, np.float32)
    return np.where(np.isnan(values)[:, None], np.nan, found)


def _gridded(
    times: NDArray[np.float64], values: NDArray[np.float64], every: float, name: str, most: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ascending times and (T, V) values on a grid from the first time on.

    A point of the grid has the last value of each variable that was measured from it until before the next,
    NaN where there was none.
    """
    places = np.floor((times - times[0]) / every)
    check_steps(name, int(min(places[-1], 2.0**62)) + 1, most)
    gridded = np.full((int(places[-1]) + 1, values.shape[1]), np.nan)
    rows, columns = np.nonzero(~np.isnan(values))
    # In order of time: of several assignments to one place numpy keeps the last.
    gridded[places[rows].astype(np.int64), columns] = values[rows, columns]
    return times[0] + every * np.arange(len(gridded)), gridded


def _carried(values: NDArray[np.float64], observed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(T, V): the value last measured up to each step; 0, the study's centre, before the first."""
    steps = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(observed, steps, -1), axis=0)
    return np.where(last >= 0, np.take_along_axis(values, np.maximum(last, 0), axis=0), 0.0)


def _gaps(times: NDArray[np.float64], observed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(T, V): time since a variable was last observed before each step, or since the first step."""
    last = np.maximum.accumulate(np.where(observed, times[:, None], times[0]), axis=0)
    before = np.concatenate([np.full_like(last[:1], times[0]), last[:-1]])
    gaps: NDArray[np.float64] = times[:, None] - before
    return gaps
