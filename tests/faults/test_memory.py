"""Memory that does not suffice and a GPU that goes away, in the middle of a site's training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from client.checkpoints.checkpoint import INTERVAL_VARIABLE, Checkpoints
from client.ledger import Ledger
from client.site import Site
from common.study import Study
from server.study_run import run_study
from tests.faults.conftest import SITES, Runs

PRIVATE = {"noise_multiplier": 1.0, "sample_rate": 0.25, "target_delta": 1e-3, "accountant": "rdp"}
ERRORS = {
    "memory": (MemoryError("no more"), "out-of-memory"),
    "the memory of the GPU": (torch.OutOfMemoryError("CUDA out of memory"), "out-of-memory"),
    "the GPU": (RuntimeError("CUDA error: device lost"), "device-failed"),
}
ALONE = "the site refuses with `{}`; the others go on without it, and `run.json` names it"


def failing(becomes: str, *whats: str) -> Any:
    """A test for each of these errors, with its row of the table."""
    cases = []
    for what in whats:
        told = f"{what} of a site is gone in the middle of training"
        marks = pytest.mark.fault(told, becomes.format(ERRORS[what][1]))
        cases.append(pytest.param(*ERRORS[what], marks=marks, id=what))
    return pytest.mark.parametrize(("error", "code"), cases)


@pytest.fixture
def break_down(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``break_down(error, site, times)``: its training fails after its second step, so many times."""
    monkeypatch.setenv(INTERVAL_VARIABLE, "0")
    real = Checkpoints.offer

    def make(error: Exception, site: Site, times: float) -> None:
        steps, failed = [0], [0]

        def offer(self: Any, state: Any, done: float) -> None:
            real(self, state, done)
            if not str(self._path).startswith(f"{site.state}/"):
                return
            steps[0] += 1
            if steps[0] >= 2 and failed[0] < times:
                failed[0] += 1
                raise error

        monkeypatch.setattr(Checkpoints, "offer", offer)

    return make


def model(runs: Runs, name: str) -> bytes:
    return (runs.folder / name / "model.safetensors").read_bytes()


@failing(ALONE, *ERRORS)
def test_the_others_go_on(
    runs: Runs,
    sites: Callable[[str], list[Site]],
    faults: Any,
    break_down: Callable[..., None],
    error: Exception,
    code: str,
) -> None:
    runs.go("whole", runs.grid(*sites("whole"), faults={"alder": faults.refused()}))
    there = sites("cut")
    break_down(error, there[0], times=float("inf"))
    runs.go("cut", runs.grid(*there))
    run = json.loads((runs.folder / "cut/run.json").read_text())
    assert run["status"] == "completed"
    assert [entry["missing"]["alder"].partition(":")[0] for entry in run["rounds"]] == [code] * 2
    assert model(runs, "cut") == model(runs, "whole")


@pytest.fixture
def private(runs: Runs, make_study: Callable[..., Study]) -> Callable[[int], Runs]:
    """Runs of a private study of so many sites at least; seeded noise lets their models be compared."""
    training = {"optimizer": "sgd", "batch_size": 2}

    def make(min_sites: int) -> Runs:
        federation = {"rounds": 2, "min_sites": min_sites}
        return runs.of(make_study(federation=federation, training=training, privacy=PRIVATE))

    return make


@failing(
    "in a private study the site refuses with `{}` and what it had reserved is spent: how training fails may "
    "tell of patients. The others go on",
    "memory",
)
def test_what_fails_for_memory_is_paid_for(
    private: Callable[[int], Runs],
    sites: Callable[[str], list[Site]],
    break_down: Callable[..., None],
    error: Exception,
    code: str,
) -> None:
    there, study = sites("cut"), private(2)
    break_down(error, there[0], times=1)
    study.go("cut", study.grid(*there))
    run = json.loads((study.folder / "cut/run.json").read_text())
    assert run["status"] == "completed"
    assert [entry["contributed"] for entry in run["rounds"]] == [list(SITES[1:]), list(SITES)]
    assert run["rounds"][0]["missing"]["alder"].startswith(code)
    assert [len(lines(site)) for site in there] == [2] * 4
    assert all(settled for site in there for _, settled in lines(site))


@failing(
    "in a private study the site refuses with `{}`, is asked again and goes on from its checkpoint; the same "
    "reservation pays for it, and the model is the same",
    "the GPU",
)
def test_a_gpu_that_comes_back(
    private: Callable[[int], Runs],
    sites: Callable[[str], list[Site]],
    monkeypatch: pytest.MonkeyPatch,
    break_down: Callable[..., None],
    error: Exception,
    code: str,
) -> None:
    monkeypatch.setattr("server.collecting.PAUSE_S", 0.05)
    monkeypatch.setattr("server.collecting.LOOK_S", 0.02)
    quiet, there, study = sites("whole"), sites("cut"), private(4)
    study.go("whole", study.grid(*quiet))
    break_down(error, there[0], times=1)
    grid = study.grid(*there)
    record = run_study(grid, replace(study.plan("cut"), patience_s=60.0))
    assert [entry["contributed"] for entry in record.rounds] == [list(SITES)] * 2
    assert grid.asked.count(("train", "alder")) == 3 and code == "device-failed"
    assert model(study, "cut") == model(study, "whole")
    assert [lines(site) for site in there] == [lines(site) for site in quiet]


def lines(site: Site) -> list[tuple[int, bool]]:
    """Steps of each reservation in a site's ledger, and whether it is settled."""
    book = Ledger(Path(site.ledger), None).book()
    return [(line.event.steps, line.settled is not None) for line in book.lines]
