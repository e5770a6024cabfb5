"""Every task that is built trains with `consilium local` alone: real processes, phantoms, no data given."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from client.predicting import open_model
from tests.e2e.test_engines import COMMAND

PICTURES = '[sequence]\nkind = "{kind}"\nsize = 16\n'
STEPS = """
[sequence]
kind = "steps"
time_scale = 60.0
max_steps = 12
[sequence.variables]
HR = { centre = 80.0, scale = 20.0 }
Lactate = { centre = 1.0, scale = 1.0 }
"""
SEQUENCES = {
    "classification": PICTURES.format(kind="rows"),
    "several labels": PICTURES.format(kind="rows"),
    "segmentation": PICTURES.format(kind="slices"),
    "detection": PICTURES.format(kind="frames"),
    "generation": PICTURES.format(kind="rows"),
    "risk": STEPS,
}
ALONE = "risk"
"""The one that is tried each time; the others take as long, and share its way."""

STUDY = """
[study]
name = "one-of-each"
task = "{task}"
several_labels = {several}
[study.labels]
0 = "without"
1 = "with"
[model]
hidden = 8
{model}
[federation]
rounds = {rounds}
{sequence}
"""


def study_of(learns: str, rounds: int = 1) -> str:
    several = learns == "several labels"
    return STUDY.format(
        task="classification" if several else learns,
        several=str(several).lower(),
        rounds=rounds,
        sequence=SEQUENCES[learns],
        model='encoder = "cnn"\ncell = "conv_gru"' if learns in ("segmentation", "detection") else "",
    )


def consilium(*words: object) -> str:
    done = subprocess.run(
        [*COMMAND, *map(str, words)], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "learns", [pytest.param(each, marks=() if each == ALONE else pytest.mark.slow) for each in SEQUENCES]
)
def test_it_trains_over_the_link_on_phantoms_of_its_own(learns: str, tmp_path: Path) -> None:
    study, out = tmp_path / "study.toml", tmp_path / "run"
    study.write_text(study_of(learns))
    assert json.loads(consilium("study", "check", study, "--json"))["valid"]
    told = json.loads(consilium("local", study, "--sites", 2, "--out", out, "--device", "cpu", "--json"))
    assert told["status"] == "completed" and told["engine"] == "link" and len(told["sites"]) == 2
    run: dict[str, Any] = json.loads((out / "run.json").read_text())
    assert all(row["contributed"] and not row["missing"] for row in run["rounds"])
    spoken = run["figures"][0]["key"]
    assert run["final"]["pooled"][spoken] is not None and len(run["final"]["sites"]) == 2
    model = open_model(out)
    assert model.digest == run["final"]["model_digest"] and model.run is not None
    assert (out / "report.html").stat().st_size > 0
