"""What the examples on records read, and that nothing in it gives the outcome away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.records import record_steps
from common.study import Steps, load_study

EXAMPLES = Path(__file__).parents[2] / "examples"

GIVES_AWAY = {
    "num",
    "label",
    "split",
    "survival_days",
    "length_of_stay_days",
    "saps1",
    "sofa",
    "hospital",
    "row",
}
"""Columns of these tables that were written down after the outcome, were computed, or are no measurement."""


def sequence_of(name: str) -> Steps:
    found = load_study(EXAMPLES / f"{name}.toml").sequence
    assert isinstance(found, Steps)
    return found


@pytest.mark.parametrize(("name", "columns"), [("icu-mortality", 40), ("heart-disease", 9 + 13)])
def test_nothing_that_gives_the_outcome_away_is_read(name: str, columns: int) -> None:
    sequence = sequence_of(name)
    assert not GIVES_AWAY & set(sequence.names)
    assert len(sequence.columns) == columns and sequence.frame == (1, 3 * columns)


def test_a_cholesterol_of_0_was_not_measured() -> None:
    study, sequence = load_study(EXAMPLES / "heart-disease.toml"), sequence_of("heart-disease")
    values = np.array([[0.0 if name == "chol" else 1.0 for name in sequence.names]], np.float32)
    value, flag, _ = record_steps(np.zeros(1), values, sequence.names, study).reshape(3, -1).tolist()
    assert (value[sequence.columns.index("chol")], flag[sequence.columns.index("chol")]) == (0.0, 0.0)
    assert flag[sequence.columns.index("age")] == 1.0


def test_a_ph_of_735_is_no_farther_than_the_limit_and_age_stays_visible() -> None:
    study, sequence = load_study(EXAMPLES / "icu-mortality.toml"), sequence_of("icu-mortality")
    values = np.full((2, len(sequence.names)), np.nan, np.float32)
    values[0, sequence.names.index("age")] = 82.0
    values[1, sequence.names.index("pH")] = 735.0
    steps = record_steps(np.array([0.0, 180.0]), values, sequence.names, study).reshape(4, 3, -1)
    assert steps[3, :2, sequence.columns.index("pH")].tolist() == [5.0, 1.0]
    assert steps[:, 0, sequence.columns.index("age")].tolist() == [1.0] * 4
    assert steps[:, 1, sequence.columns.index("age")].tolist() == [1.0, 0.0, 0.0, 0.0]
