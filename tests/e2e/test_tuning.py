"""A small search on phantom hospitals: it goes on where it was, and leaves a study to run."""

from __future__ import annotations

import csv
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client.cohorts.home import create_home
from client.cohorts.intake import Request as Intake
from client.cohorts.intake import take_in
from client.cohorts.rules import Rules
from client.manifest import read_manifest, write_manifest
from client.sources import CohortSource
from common.errors import SearchDiffers, TrialsSpendBudget, UnknownKey
from common.study import load_study
from deploy.launch import Request
from deploy.tuning.trial import Trial
from deploy.tuning.tuned import Tuned
from deploy.tuning.tuning import Asked, Tell, tune
from tests.e2e.test_engines import COMMAND

STUDY = """
[study]
name = "tuned-phantom"
[study.labels]
0 = "normal"
1 = "lesion"
[sequence]
kind = "rows"
size = 16
[model]
hidden = 4
[federation]
rounds = 2
"""
SEARCH = """
training.learning_rate = { low = 1e-3, high = 1e-1, log = true }
model.cell = ["gru", "rnn"]
"""
PRIVATE = """
min_sites = 1
[privacy]
noise_multiplier = 2.0
sample_rate = 0.5
target_delta = 1e-3
"""


@pytest.fixture
def asked(tmp_path: Path, manifest: Path) -> Asked:
    (tmp_path / "study.toml").write_text(STUDY)
    (tmp_path / "search.toml").write_text(SEARCH)
    where = (("site", "alder"),)
    request = Request(
        tmp_path / "study.toml",
        tmp_path / "out",
        "inprocess",
        data=manifest,
        where=where,
        sites=2,
        device="cpu",
    )
    return Asked(request, tmp_path / "search.toml", method="random", trials=3, folds=2)


def interrupt(trial: Trial, tuned: Tuned) -> None:
    """Stands for Ctrl-C after the first trial; the given study was tried before it."""
    if trial.number == 1:
        raise KeyboardInterrupt


def without_times(tuned: Tuned) -> list[dict[str, Any]]:
    return [{**trial.to_dict(), "duration_s": 0} for trial in tuned.trials]


def test_a_search_goes_on_where_it_was_and_leaves_the_best_study(asked: Asked, tmp_path: Path) -> None:
    out = asked.request.out
    with pytest.raises(KeyboardInterrupt):
        tune(asked, Tell(trial=interrupt))
    assert len(json.loads((out / "tuning.json").read_text())["trials"]) == 1

    told: list[int] = []
    found = tune(replace(asked, test=True), Tell(trial=lambda trial, _: told.append(trial.number)))
    assert told == [2, 3]
    whole = tune(replace(asked, request=replace(asked.request, out=tmp_path / "whole")), Tell())
    assert without_times(whole) == without_times(found)

    best = load_study(out / "best.toml")
    assert found.best is not None and best == found.best_study
    assert best.model.cell == found.best.values["model.cell"]
    assert best.training.learning_rate == found.best.values["training.learning_rate"]
    assert whole.given is not None and found.given is not None and whole.given.score == found.given.score
    assert best.data == load_study(asked.request.study).data  # what a fold asked less of is not in it

    document = json.loads((out / "tuning.json").read_text())
    run = json.loads((out / "test" / "run.json").read_text())
    told_once = {"trial": found.best.number, "value": run["final"]["pooled"]["auroc"]}
    assert document["tested"] == [told_once]
    assert tune(replace(asked, test=True), Tell()).tested == (told_once,)  # not asked again
    rows = list(csv.DictReader((out / "trials.csv").read_text().splitlines()))
    every = [document["given"], *document["trials"]]
    assert [row["auroc"] for row in rows] == [repr(trial["value"]) for trial in every]
    page = (out / "tuning.html").read_text()
    assert "On the test split" in page and "http" not in page.replace("http-equiv", "")

    with pytest.raises(SearchDiffers, match="another number of folds"):
        tune(replace(asked, folds=3), Tell())
    asked.search.write_text(SEARCH.replace("1e-1", "1e-2"))
    with pytest.raises(SearchDiffers, match="another search"):
        tune(asked, Tell())


def without_test_pictures(data: Path | None) -> Path:
    """A manifest whose test rows name files that are not there."""
    assert data is not None
    rows = [
        replace(row, path=f"{row.path}.gone" if row.split == "test" else row.path)
        for row in read_manifest(data).rows
    ]
    write_manifest(data.with_name("gone.csv"), rows)
    return data.with_name("gone.csv")


def test_a_wrong_key_is_named_before_anything_starts(asked: Asked) -> None:
    asked.search.write_text("[model]\nhiden = [4, 8]\n")
    with pytest.raises(UnknownKey, match=r"model\.hiden"):
        tune(asked, Tell())
    assert not asked.request.out.exists()


@pytest.mark.slow
def test_the_command_shows_trials_and_what_to_do_next_and_opens_no_test_picture(asked: Asked) -> None:
    asked.search.write_text('model.cell = ["gru", "rnn"]\n')
    request = replace(asked.request, data=without_test_pictures(asked.request.data))
    words = ["tune", request.study, "--search", asked.search, "--out", request.out, "--data", request.data]
    words += ["--where", "site=alder", "--sites", 2, "--method", "grid", "--folds", 2, "--rounds", 1]
    done = subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("trial ")]
    assert [line.split("  ")[0] for line in lines] == ["trial 1/2", "trial 2/2"]
    assert all("best" in line and "cell" in line for line in lines)
    assert sum(line.endswith("  as given") for line in lines) == 1  # a gru is what is given
    assert f"consilium simulate {request.out / 'best.toml'} --data {request.data}" in done.stdout
    assert "The best of 2 trials" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_a_private_search_on_a_cohort_needs_a_yes_and_takes_nothing_from_its_ledger(
    asked: Asked, manifest: Path, tmp_path: Path
) -> None:
    home = create_home(tmp_path / "home", "alder")
    take_in(home, Intake("chest", (manifest.parent / "alder",), Rules(), labels=manifest))
    asked.request.study.write_text(STUDY + PRIVATE)
    place = (("alder", CohortSource(home.folder, "chest")),)
    request = replace(asked.request, data=None, where=(), sites=None, cohorts=place)
    asked.search.write_text('model.cell = ["gru"]\n')  # as given: tried once
    asked = replace(asked, request=request, method="grid")
    with pytest.raises(TrialsSpendBudget, match="alder: 2 trainings"):
        tune(asked, Tell())
    assert not request.out.exists()
    found = tune(replace(asked, yes=True), Tell())
    assert found.best is not None and found.spending[0].together > 0
    assert not home.ledger("chest").path.exists()
