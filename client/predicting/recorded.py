"""A record of measurements as a case."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from client.predicting.case import Given
from client.records import record_steps, step_times
from common.errors import InputOtherKind
from common.study import Steps, Study


def record_given(
    name: str,
    times: NDArray[np.float64],
    values: NDArray[np.float32],
    variables: Sequence[str],
    study: Study,
) -> Given:
    """The case that a record is; times and values as :func:`client.records.record_steps` takes them.

    Raises:
        InputOtherKind: The model reads pictures.
        CaseTooWide, CohortUnsuitable: The record does not fit the study.
    """
    if not isinstance(study.sequence, Steps):
        raise InputOtherKind(f"a record of measurements, where the model reads {study.sequence.kind}")
    steps = record_steps(times, values, variables, study, name)
    when = step_times(times, values, variables, study.sequence)
    return Given(name, steps, times=tuple(when.tolist()))
