"""A study that says how long a site trains: each sends what it has learnt by then, and how far it came."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.study import Study
from server.record import RunRecord
from server.study_run import RunPlan, run_study

SITES = ("alder", "birch", "cedar", "dogwood")


@pytest.fixture
def run(
    make_study: Callable[..., Study], grid_of: Callable[..., Any], tmp_path: Path
) -> Callable[..., RunRecord]:
    """A run of one round in which there is time for a single step."""

    def go(**faults: Any) -> RunRecord:
        study = make_study(training={"work_s": 1e-9}, federation={"rounds": 1})
        return run_study(grid_of(faults=faults), RunPlan(study, 0, tmp_path / "run", "test", 4, 5.0))

    return go


def test_each_site_makes_a_step_at_least_and_says_so(run: Callable[..., RunRecord]) -> None:
    (entry,) = run().rounds
    assert {site: told["steps"] for site, told in entry["training"].items()} == dict.fromkeys(SITES, 1)
    assert all(told["update_norm"] > 0 for told in entry["training"].values())


@pytest.mark.parametrize("steps", [None, 0, -3, 2**50])
def test_steps_that_cannot_be_are_refused(
    run: Callable[..., RunRecord], faults: Any, steps: int | None
) -> None:
    (entry,) = run(cedar=faults.says(steps=steps)).rounds
    assert entry["contributed"] == ["alder", "birch", "dogwood"]
    assert entry["missing"] == {"cedar": "update-refused: a number of training steps that cannot be"}
