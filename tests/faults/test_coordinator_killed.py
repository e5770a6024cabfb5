"""The coordinator is killed at any write of its journal: the study goes on, to the same model."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Runs

SITES = ("alder", "birch", "cedar", "dogwood")


def outcome(folder: Path) -> dict[str, Any]:
    """What a run came to, without what differs between any two."""
    run = json.loads((folder / "run.json").read_text())
    for entry in run["rounds"]:
        del entry["duration_s"]
    for key in ("started_at", "finished_at", "duration_s"):
        del run[key]
    return dict(run)


@pytest.mark.fault(
    "nothing goes wrong", "a run writes down as many steps as there are cases of a coordinator that is killed"
)
def test_an_undisturbed_run_writes_all_of_this(runs: Runs) -> None:
    """As many writes as there are cases below."""
    journal = runs.go("run", runs.grid())
    assert journal.writes == WRITES


WRITES = 2 * (1 + len(SITES) + 1 + len(SITES) + 1) + 1


@pytest.mark.fault(
    "the coordinator ends (`kill -9`) at any write of its journal, before it or after it",
    "started again, it goes on in the same round with the updates that it has; the model is bit-equal",
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, WRITES + 1))
def test_the_model_is_that_of_an_undisturbed_run(runs: Runs, whole: Path, write: int, after: bool) -> None:
    killed, again = runs.grid(), runs.grid()
    runs.go("cut", killed, dies_at=write, after=after)
    runs.go("cut", again)
    model = (runs.folder / "cut/model.safetensors").read_bytes()
    assert model == (whole / "model.safetensors").read_bytes()
    assert outcome(runs.folder / "cut") == outcome(whole)
    assert not (runs.folder / "cut/rounds").exists()
    # What was kept is not asked for again: all that is done twice is what was in the killed process alone.
    asked = Counter(each for each in (*killed.asked, *again.asked) if each[0] != "query")
    assert all(count <= 2 + 1 for count in asked.values())
    assert sum(asked.values()) <= 2 * 2 * len(SITES) + len(SITES)
