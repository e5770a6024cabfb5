"""From a record of measurements to the steps that a model reads.

Invariant: what was not measured is not made up. A value of 0 comes with a flag of 0.
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
    """A record of measurements as steps: V scaled values, V observed flags, V gaps.

    A gap is the time since the variable was last measured before this step, or since the record's first
    step, in units of ``time_scale``: the interval of GRU-D (Che et al. 2018, Sci. Rep. 8:6085).

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
    when, read = _measured(times, values, variables, sequence)
    if sequence.every is not None:
        when, read = _gridded(when, read, sequence.every, name, sequence.max_steps)
    check_steps(name, len(when), sequence.max_steps)
    observed = np.isfinite(read)
    centre = np.array([variable.centre for variable in sequence.variables.values()])
    scale = np.array([variable.scale for variable in sequence.variables.values()])
    scaled = (np.where(observed, read, centre) - centre) / scale
    gaps = _gaps(when, observed) / sequence.time_scale
    return torch.from_numpy(np.concatenate([scaled, observed, gaps], axis=1).astype(np.float32))


def grid_length(times: NDArray[np.float64], sequence: Steps) -> int:
    """Most steps that a record with such times can have."""
    if sequence.every is None or not len(times):
        return max(1, len(times))
    return int(min((times.max() - times.min()) / sequence.every, MOST_STEPS)) + 1


def _measured(
    times: NDArray[np.float64], values: NDArray[np.float32], variables: Sequence[str], sequence: Steps
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(T,) times at which something that the study names was measured, in order, and (T, V) the values."""
    missing = [variable for variable in sequence.variables if variable not in variables]
    if missing:
        raise CohortUnsuitable(f"the cohort lacks variables that the study names: {', '.join(missing)}")
    named = np.asarray(values, dtype=np.float64)[:, [variables.index(v) for v in sequence.variables]]
    own = np.isfinite(named).any(axis=1)
    if not own.any():
        return np.zeros(1), np.full((1, named.shape[1]), np.nan)
    when = np.asarray(times, dtype=np.float64)[own]
    order = np.argsort(when, kind="stable")
    return when[order], named[own][order]


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
    rows, columns = np.nonzero(np.isfinite(values))
    # In order of time: of several assignments to one place numpy keeps the last.
    gridded[places[rows].astype(np.int64), columns] = values[rows, columns]
    return times[0] + every * np.arange(len(gridded)), gridded


def _gaps(times: NDArray[np.float64], observed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(T, V): time since a variable was last observed before each step, or since the first step."""
    last = np.maximum.accumulate(np.where(observed, times[:, None], times[0]), axis=0)
    before = np.concatenate([np.full_like(last[:1], times[0]), last[:-1]])
    gaps: NDArray[np.float64] = times[:, None] - before
    return gaps
