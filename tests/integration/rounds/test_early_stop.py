"""A study with patience ends when its validation cases are predicted no better, and keeps its best model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import MessageType
from jsonschema import Draft202012Validator

from client.site import Site
from common.errors import NoValidationCases
from common.study import Study, to_toml
from common.weights import digest, load_weights
from server.journal import Journal
from server.report import render
from server.study_run import RunPlan, run_study
from tests.faults.conftest import Killed, MortalJournal
from tests.integration.rounds.test_calibration_run import SCHEMA, hospitals
from tests.unit.conftest import Fault, Faults, FaultyGrid, small_study
from tests.unit.page_reader import Page

NAMES = ("alder", "birch", "cedar")
STOPS: dict[str, Any] = {"rounds": 12, "patience": 2, "patience_by": "loss"}
"""Labels are wrong now and then, so such training soon fits what is wrong with them."""
HARD = {"local_epochs": 4, "learning_rate": 0.05}


def study(**federation: Any) -> Study:
    return small_study(federation={**STOPS, **federation}, training=HARD, model={"hidden": 8})


def run_of(
    out: Path, sites: list[Site], made: Study, faults: dict[str, Fault] | None = None
) -> tuple[Any, FaultyGrid]:
    """run.json of a study over the sites, valid against its schema, and the Grid that it went over."""
    grid = FaultyGrid(sites, faults, 0)
    run_study(grid, RunPlan(made, 0, out, "test", 3, 1.0))
    return read(out), grid


def read(out: Path) -> Any:
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    Draft202012Validator(SCHEMA).validate(run)
    return run


def values(run: Any) -> list[float | None]:
    return [entry["validation"]["value"] for entry in run["rounds"]]


def stop_of(found: Sequence[float | None], patience: int) -> int:
    """The round after which a loss has not fallen for so many; reckoned apart from the program."""
    losses = [value for value in found if value is not None]
    return next(n for n in range(1, len(losses) + 1) if n - 1 - int(np.argmin(losses[:n])) >= patience)


def test_it_stops_and_keeps_the_best_model(tmp_path: Path) -> None:
    run, grid = run_of(tmp_path / "run", hospitals(tmp_path), study())
    whole, _ = run_of(tmp_path / "whole", hospitals(tmp_path), study(patience=12))
    done = len(run["rounds"])
    assert 2 < done < 12 and run["status"] == "completed"
    assert values(run) == values(whole)[:done] and done == stop_of(values(whole), 2)
    best = int(np.argmin(values(run))) + 1
    assert done == best + 2 and run["final"]["round"] == best
    told = run["final"]["stopping"]
    assert told == {"figure": "loss", "value": min(values(run)), "stopped_after": done}
    assert run["rounds"][0]["validation"]["n"] == 24 and run["rounds"][0]["validation"]["sites"] == [*NAMES]
    # The kept model is that of the best round, and its figures are those that it had then.
    kept = digest(load_weights(tmp_path / "run/model.safetensors"))
    assert kept == run["final"]["model_digest"] == run["rounds"][best - 1]["model_digest"]
    assert run["final"]["pooled"]["auroc"] == run["rounds"][best - 1]["metrics"]["pooled"]["auroc"]
    page = Page(render(run, to_toml(study())))
    assert f"stopped after round {done}: no better on validation since round {best}" in page.text
    trained = [content["about"]["round"] for kind, content in grid.sent if kind == MessageType.TRAIN]
    assert max(trained) == done
    # Calibrated is what is kept: to counts of the best model's validation cases.
    asked = [c["about"] for kind, c in grid.sent if kind == MessageType.EVALUATE]
    assert asked[-1]["base_digest"] == kept and asked[-1]["split"] == "val"


def test_a_study_that_never_stops_keeps_its_best_model_too(tmp_path: Path) -> None:
    run, _ = run_of(tmp_path / "run", hospitals(tmp_path), study(rounds=9, patience=9))
    assert len(run["rounds"]) == 9 and run["final"]["stopping"]["stopped_after"] is None
    best = int(np.argmin(values(run))) + 1
    assert best < 9 and run["final"]["round"] == best
    kept = digest(load_weights(tmp_path / "run/model.safetensors"))
    assert kept == run["rounds"][best - 1]["model_digest"]


def test_patience_counts_tests_and_the_mean_of_models_is_what_is_tested(tmp_path: Path) -> None:
    made = study(rounds=20, evaluate_every=2, average_last=3, patience=1)
    run, _ = run_of(tmp_path / "run", hospitals(tmp_path), made)
    tested = [entry["round"] for entry in run["rounds"] if "validation" in entry]
    assert tested == list(range(2, len(run["rounds"]) + 1, 2)) and len(run["rounds"]) < 20
    best = run["final"]["round"]
    assert best == run["final"]["stopping"]["stopped_after"] - 2
    taken = [load_weights(tmp_path / "run" / run["files"]["checkpoints"][n]) for n in range(best)][-3:]
    mean = {n: np.mean([m[n] for m in taken], axis=0, dtype=np.float64).astype("f4") for n in taken[0]}
    assert digest(mean) == run["final"]["model_digest"]
    assert digest(load_weights(tmp_path / "run/model.safetensors")) == digest(mean)


def test_a_study_without_patience_is_as_it_was(tmp_path: Path) -> None:
    run, _ = run_of(tmp_path / "run", hospitals(tmp_path), small_study(federation={"rounds": 3}))
    assert "stopping" not in run["final"] and run["final"]["round"] == 3
    assert all("validation" not in entry for entry in run["rounds"])


def test_sites_without_validation_cases_count_for_nothing(tmp_path: Path) -> None:
    sites = hospitals(tmp_path, without_val=("birch",))
    gone = {"cedar": Faults.says(MessageType.EVALUATE, base_digest="0" * 64)}
    run, _ = run_of(tmp_path / "run", sites, study(rounds=2), gone)
    assert [entry["validation"]["sites"] for entry in run["rounds"]] == [["alder"], ["alder"]]
    assert run["rounds"][0]["validation"]["n"] == 8


def test_where_nobody_has_any_it_does_not_begin(tmp_path: Path) -> None:
    grid = FaultyGrid(hospitals(tmp_path, without_val=NAMES), None, 0)
    with pytest.raises(NoValidationCases, match="none of 3 sites"):
        run_study(grid, RunPlan(study(), 0, tmp_path / "run", "test", 3, 1.0))
    run = read(tmp_path / "run")
    assert (run["status"], run["error"]["code"], run["rounds"]) == ("failed", "no-validation-cases", [])
    assert {kind for kind, _ in grid.sent} == {"query"}


def without_times(run: Any) -> Any:
    for entry in run["rounds"]:
        del entry["duration_s"]
    return {k: v for k, v in run.items() if k not in ("started_at", "finished_at", "duration_s")}


def go(folder: Path, sites: list[Site], *, dies_at: int = 0) -> int:
    """A run with a journal on the disk, from its beginning or from where it was left: its writes."""
    folder.mkdir(exist_ok=True)
    federation = {"patience": 1, "patience_by": "loss", "patience_min_delta": 100.0, "average_last": 2}
    made = small_study(federation={"rounds": 9, **federation})
    with Journal(folder / "journal.db") as journal:
        mortal = MortalJournal(journal.run("run", made, 0, folder), dies_at, after=True)
        with suppress(Killed):
            run_study(FaultyGrid(sites, None, 0), RunPlan(made, 0, folder, "test", 3, 1.0), mortal)
    return mortal.writes


def test_a_coordinator_that_is_killed_ends_where_it_would_have(tmp_path: Path) -> None:
    """After each write of the round in which it stops, whose best one is another."""
    sites = hospitals(tmp_path)
    writes = go(tmp_path / "whole", sites)
    whole = without_times(read(tmp_path / "whole"))
    a_round = 1 + 3 + 1 + 3 + 1
    assert (whole["final"]["round"], whole["final"]["stopping"]["stopped_after"]) == (1, 2)
    assert writes == 2 * a_round + 1
    for write in range(a_round, writes + 1):
        cut = tmp_path / f"cut-{write}"
        go(cut, sites, dies_at=write)
        go(cut, sites)
        assert without_times(read(cut)) == whole
        model = (cut / "model.safetensors").read_bytes()
        assert model == (tmp_path / "whole/model.safetensors").read_bytes()
