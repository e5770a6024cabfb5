"""A round without enough sites waits for them, where there is somebody who can come back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from client.site import Site
from common.errors import QuorumNotReached
from server.study_run import run_study
from tests.faults.conftest import Runs


@pytest.fixture
def short(runs: Runs, make_study: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Runs:
    """A study of two sites at least, which waits in small steps."""
    monkeypatch.setattr("server.collecting.PAUSE_S", 0.05)
    monkeypatch.setattr("server.collecting.LOOK_S", 0.02)
    return runs.of(make_study(federation={"rounds": 2, "min_sites": 2, "deadline_s": 2.0}))


@pytest.mark.fault(
    "so many hospitals are gone that a round has fewer updates than `min_sites`",
    "the round waits, and who has answered is not asked again; it goes on once they are back",
)
def test_a_round_waits_until_a_site_comes_back(
    short: Runs, faults: Any, site_of: Callable[[str], Site]
) -> None:
    grid = short.grid(site_of("alder"), site_of("birch"), faults={"birch": faults.lost()})

    def mended() -> None:
        grid.faults.clear()

    threading.Timer(2.5, mended).start()
    plan = replace(short.plan("run"), expect_sites=2, patience_s=60.0)
    record = run_study(grid, plan)
    assert record.status == "completed"
    assert [entry["contributed"] for entry in record.rounds] == [["alder", "birch"]] * 2
    assert grid.asked.count(("train", "alder")) == 2, "who has answered is not asked again"


@pytest.mark.fault(
    "the same in a simulation, where nobody comes back", "the study ends with `quorum-not-reached`"
)
def test_without_patience_the_study_ends_and_says_why(
    short: Runs, faults: Any, site_of: Callable[[str], Site]
) -> None:
    grid = short.grid(site_of("alder"), site_of("birch"), faults={"birch": faults.lost()})
    plan = replace(short.plan("run"), expect_sites=2)
    with pytest.raises(QuorumNotReached):
        run_study(grid, plan)
    run = json.loads((plan.out / "run.json").read_text())
    assert (run["status"], run["error"]["code"]) == ("failed", "quorum-not-reached")
