"""A disk that is full, or may only be read: at a site, at the coordinator, in the middle of a study."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client.checkpoints.checkpoint import INTERVAL_VARIABLE
from client.ledger import Ledger
from client.site import Site
from common.errors import ConsiliumError, DiskFull, OutputUnwritable
from common.study import Study
from server.journal import Journal
from server.study_run import run_study
from tests.faults.conftest import SITES, Runs
from tests.faults.disk import Disk, disk, without_room

__all__ = ["disk"]

PRIVATE = {
    "noise_multiplier": 1.0,
    "sample_rate": 0.25,
    "target_delta": 1e-3,
    "accountant": "rdp",
}
FULL = "the disk is full where the coordinator writes "
GOES_ON = "stops with `disk-full`; with room, started again, it goes on to the same model"


def model(runs: Runs, name: str) -> bytes:
    return (runs.folder / name / "model.safetensors").read_bytes()


def told(runs: Runs, name: str) -> tuple[str, str]:
    """How a run ended, and with which code."""
    run = json.loads((runs.folder / name / "run.json").read_text())
    return run["status"], (run["error"] or {}).get("code", "")


def left_over(folder: Path) -> list[Path]:
    """What is half written."""
    return list(folder.rglob("*.partial"))


def explains_itself(error: ConsiliumError) -> bool:
    """Whether an error has a code, says what to do, and fits on a screen."""
    return error.code != "internal" and bool(error.hint) and len(error.private.splitlines()) < 20


def stops(runs: Runs, grid: Any, error: type[ConsiliumError]) -> None:
    with pytest.raises(error) as stopped:
        runs.go("cut", grid)
    assert explains_itself(stopped.value)
    assert not left_over(runs.folder / "cut")


WRITTEN = {
    "the model of a round": ("checkpoints/round-0001.safetensors", 1),
    "the first model": ("checkpoints/round-0000.safetensors", 1),
    "a site's update": ("train/cedar.safetensors", 2),
    "a site's counts": ("evaluate/birch.safetensors", 1),
    "what its strategy remembers": ("memory-000*.safetensors", 2),
    "the final model": ("cut/model.safetensors", 1),
    "run.json": ("cut/run.json", 3),
}


def full_at_the_coordinator(what: str) -> Any:
    return pytest.param(*WRITTEN[what], marks=pytest.mark.fault(FULL + what, GOES_ON), id=what)


@pytest.mark.parametrize(("pattern", "at"), [full_at_the_coordinator(what) for what in WRITTEN])
def test_the_coordinator_has_no_room_for_a_file(runs: Runs, disk: Disk, pattern: str, at: int) -> None:
    runs.go("whole", runs.grid())
    disk.fills_up(pattern, at)
    stops(runs, runs.grid(), DiskFull)
    assert disk.refused
    disk.mend()
    assert told(runs, "cut")[0] != "completed"
    runs.go("cut", runs.grid())
    assert told(runs, "cut") == ("completed", "")
    assert model(runs, "cut") == model(runs, "whole")
    assert not (runs.folder / "cut/rounds").exists()


@pytest.mark.fault(FULL + "its journal", GOES_ON)
@pytest.mark.parametrize("write", [1, 5, 8])
def test_the_journal_has_no_room(runs: Runs, write: int) -> None:
    runs.go("whole", runs.grid())
    grid, plan = runs.grid(), runs.plan("cut")
    runs.go("cut", grid, dies_at=write, after=True)
    with Journal(plan.out / "journal.db") as journal:
        run = journal.run("run", plan.study, plan.seed, plan.out)
        with without_room(journal), pytest.raises(DiskFull) as stopped:
            run_study(grid, plan, run)
    assert explains_itself(stopped.value) and told(runs, "cut") == ("failed", "disk-full")
    runs.go("cut", runs.grid())
    assert told(runs, "cut") == ("completed", "")
    assert model(runs, "cut") == model(runs, "whole")


@pytest.mark.fault(
    "the coordinator's folder may only be read",
    "stops with `output-unwritable`; once it may be written, started again, it goes on to the same model",
)
def test_the_coordinator_may_only_read(runs: Runs, disk: Disk) -> None:
    runs.go("whole", runs.grid())
    runs.go("cut", runs.grid(), dies_at=4)
    disk.may_only_be_read(runs.folder / "cut" / "rounds")
    stops(runs, runs.grid(), OutputUnwritable)
    disk.mend()
    runs.go("cut", runs.grid())
    assert model(runs, "cut") == model(runs, "whole")


@pytest.mark.fault(
    "the disk is full where a site writes the checkpoints of its training",
    "goes on without checkpoints, to the same model",
)
def test_a_site_trains_without_checkpoints(
    runs: Runs, sites: Callable[[str], list[Site]], disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(INTERVAL_VARIABLE, "0")
    runs.go("whole", runs.grid(*sites("whole")))
    disk.fills_up("alder/training/*.checkpoint")
    runs.go("cut", runs.grid(*sites("cut")))
    assert disk.refused
    assert told(runs, "cut") == ("completed", "")
    assert model(runs, "cut") == model(runs, "whole")
    assert not left_over(runs.folder)


@pytest.mark.fault(
    "a site's state folder may only be read",
    "the site refuses with `output-unwritable`; the others go on without it, and `run.json` names it",
)
def test_a_site_that_may_only_read_keeps_nobody_else_from_it(
    runs: Runs, sites: Callable[[str], list[Site]], disk: Disk, faults: Any
) -> None:
    runs.go("whole", runs.grid(*sites("whole"), faults={"alder": faults.refused()}))
    there = sites("cut")
    Path(there[0].state).mkdir()
    disk.may_only_be_read(Path(there[0].state))
    runs.go("cut", runs.grid(*there))
    run = json.loads((runs.folder / "cut/run.json").read_text())
    assert run["status"] == "completed"
    why = [entry["missing"]["alder"].partition(":")[0] for entry in run["rounds"]]
    assert why == ["output-unwritable"] * 2
    assert model(runs, "cut") == model(runs, "whole")


def lines(site: Site) -> list[tuple[int, bool]]:
    """Steps of each reservation in a site's ledger, and whether it is settled."""
    book = Ledger(Path(site.ledger), None).book()
    return [(line.event.steps, line.settled is not None) for line in book.lines]


AT_A_SITE = {
    "a reservation in its privacy ledger": ("alder.jsonl", 1),
    "that a reservation was used in its privacy ledger": ("alder.jsonl", 2),
    "the head of its privacy ledger": ("alder.head", 1),
    "a finished update that waits to be sent": ("alder/training/*.finished", 1),
    "what its codec left out of an update": ("alder/residuals/*.safetensors", 1),
}


def full_at_a_site(what: str) -> Any:
    becomes = (
        "the site refuses with `disk-full` and is asked again: nothing is trained that is not reserved, "
        "nothing paid twice, and the model is the same"
    )
    marks = pytest.mark.fault(f"the disk is full where a site writes {what}", becomes)
    return pytest.param(*AT_A_SITE[what], marks=marks, id=what)


@pytest.mark.parametrize(("pattern", "at"), [full_at_a_site(what) for what in AT_A_SITE])
def test_a_site_has_no_room_for_a_while(
    runs: Runs,
    sites: Callable[[str], list[Site]],
    make_study: Callable[..., Study],
    disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
    at: int,
) -> None:
    monkeypatch.setattr("server.collecting.PAUSE_S", 0.05)
    monkeypatch.setattr("server.collecting.LOOK_S", 0.02)
    study = make_study(
        federation={"rounds": 2, "min_sites": 4, "codec": "int8"},
        training={"optimizer": "sgd", "batch_size": 2},
        privacy=PRIVATE,
    )
    private = runs.of(study)
    quiet, there = sites("whole"), sites("cut")
    private.go("whole", private.grid(*quiet))
    disk.fills_up(pattern, at, times=2)
    grid = private.grid(*there)
    record = run_study(grid, replace(private.plan("cut"), patience_s=60.0))
    assert record.status == "completed" and len(disk.refused) == 2
    assert [entry["contributed"] for entry in record.rounds] == [list(SITES)] * 2
    assert model(private, "cut") == model(private, "whole")
    assert [lines(site) for site in there] == [lines(site) for site in quiet]
    assert len(lines(there[0])) == 2 and all(settled for _, settled in lines(there[0]))
    assert not left_over(private.folder)
