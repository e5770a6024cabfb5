"""Courses of patients whose hazard is known: how bad one is, what is measured, and when the event comes.

A patient of severity s in [0, 1] has the constant hazard ``h(s) = 0.01 exp(4 s)`` in each unit of time, so
that the time to the event is exponential with mean 1 / h(s). It begins where the record ends: nobody is
measured after the event. Observation ends 5 to 15 units later.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from client.sources.record_file import Record
from common.study import Steps

LEAST_HAZARD, STEEPNESS = 0.01, 4.0
HORIZON = (5.0, 15.0)
LOADINGS = (1.0, -0.8, 0.6, 0.0)
"""How a variable follows severity, by turns; the last only looks like the others."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a patient's observation ended.

    Attributes:
        event: Whether the event came.
        time: When it came, or observation ended, in units of time from the record's end.
    """

    event: bool
    time: float


def hazard(severity: float) -> float:
    """Events in a unit of time."""
    return float(LEAST_HAZARD * np.exp(STEEPNESS * severity))


def draw_outcome(rng: np.random.Generator, severity: float) -> Outcome:
    """What becomes of a patient of this severity."""
    time, end = rng.exponential(1 / hazard(severity)), rng.uniform(*HORIZON)
    return Outcome(bool(time <= end), float(min(time, end)))


def draw_record(
    rng: np.random.Generator, severity: float, sequence: Steps, most_steps: int, bias: float
) -> Record:
    """Measurements of a patient of this severity, at irregular times; not all is measured at each.

    Args:
        rng: Everything else.
        severity: In [0, 1].
        sequence: What is measured: variables around ``centre``, some ``scale`` off; any of the categories,
            whatever the severity. Its ``time_scale`` is the unit of time.
        most_steps: Longest record.
        bias: By how many ``scale`` the site's instruments are off.
    """
    steps = int(rng.integers(1, 1 + min(12, most_steps)))
    times = np.cumsum(rng.exponential(0.5 * sequence.time_scale, steps))
    state = 3 * (severity - 0.5) + np.cumsum(rng.normal(0, 0.15, steps))
    variables = sequence.variables.values()
    loadings = np.resize(LOADINGS, len(variables))
    off = state[:, None] * loadings + rng.normal(0, 0.5, (steps, len(variables))) + bias
    centre, scale = (np.array([getattr(v, key) for v in variables]) for key in ("centre", "scale"))
    measured = rng.uniform(size=off.shape) < 0.7
    numbers = np.where(measured, centre + scale * off, np.nan)
    names = [rng.choice(values, (steps, 1)) for values in sequence.categories.values()]
    return times, np.concatenate([numbers, *names], axis=1).astype(np.float32)
