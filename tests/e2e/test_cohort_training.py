"""``simulate`` and ``local`` train from registered cohorts as they do from manifests."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.cohorts.home import Home, create_home
from client.cohorts.intake import Request, take_in
from client.cohorts.records.layout import RecordRules
from client.cohorts.registering import register_records
from client.cohorts.rules import Rules
from client.manifest import read_manifest
from client.sources import CohortSource
from common.errors import CohortUnsuitable, PatientInTwoSplits
from common.study import load_study
from deploy.federation import bind
from tests.e2e.conftest import ROOT
from tests.e2e.test_engines import COMMAND

SITES = ("alder", "birch")
STEPS_STUDY = """
[study]
name = "records"
[study.labels]
0 = "low"
1 = "high"
[sequence]
kind = "steps"
time_scale = 1.0
[sequence.variables]
pulse = { centre = 80.0, scale = 10.0 }
lactate = { centre = 2.0, scale = 1.0 }
[model]
hidden = 8
[training]
learning_rate = 0.02
local_epochs = 3
[federation]
rounds = 4
"""


@pytest.fixture(scope="module")
def home(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A site whose cohorts are two of the phantom hospitals."""
    made = create_home(tmp_path_factory.mktemp("site") / "home", "alder")
    for site in SITES:
        take_in(made, Request(site, (manifest.parent / site,), Rules(), labels=manifest))
    return made


def run(
    command: str, study: Path, home: Home, out: Path, bound: Mapping[str, str], *more: str
) -> dict[str, Any]:
    cohorts = [part for site, name in bound.items() for part in ("--cohort", f"{site}={name}")]
    arguments = (command, study, "--home", home.folder, "--out", out, *cohorts, *more)
    subprocess.run([*COMMAND, *map(str, arguments)], check=True, capture_output=True)
    done: dict[str, Any] = json.loads((out / "run.json").read_text())
    return done


def test_simulating_cohorts_is_like_simulating_their_manifest(
    home: Home, manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    # Cases stand in the order of their pseudonyms, new in each home; enough rounds, then, for any order.
    done = run("simulate", ROOT / "examples/phantom.toml", home, out, {s: s for s in SITES}, "--rounds", "10")
    rows = read_manifest(manifest)
    for site in SITES:
        splits = [row.split for row in rows.of_site(site)]
        about = done["sites"][site]
        assert (about["train_cases"], about["test_cases"]) == (splits.count("train"), splits.count("test"))
    assert done["status"] == "completed" and done["final"]["pooled"]["auroc"] > 0.7


@pytest.mark.slow
def test_real_processes_train_from_cohorts(home: Home, tmp_path: Path) -> None:
    bound = {site: site for site in SITES}
    study = ROOT / "examples/phantom.toml"
    done = run("local", study, home, tmp_path / "run", bound, "--rounds", "1")
    assert done["status"] == "completed" and set(done["final"]["sites"]) == set(SITES)


@pytest.mark.slow
def test_records_of_measurements_are_learnt_from(home: Home, tmp_path: Path) -> None:
    """High pulses that come late, with lactate missing at most times."""
    for seed, site in enumerate(SITES):
        table = tmp_path / f"{site}.csv"
        write_records(table, seed)
        register_records(home, f"{site}-records", table, None, Rules(), RecordRules())
    study = tmp_path / "study.toml"
    study.write_text(STEPS_STUDY)
    done = run("simulate", study, home, tmp_path / "run", {s: f"{s}-records" for s in SITES})
    assert done["final"]["pooled"]["auroc"] > 0.9


def write_records(path: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("patient", "time", "variable", "value", "label", "split"))
        for patient in range(60):
            label, split = patient % 2, "test" if patient % 3 == 0 else "train"
            for hour in range(int(draw.integers(4, 12))):
                about = (f"p{patient}", hour)
                writer.writerow((*about, "pulse", draw.normal(75 + 4 * label * hour, 5), label, split))
                if draw.random() < 0.3:
                    writer.writerow((*about, "lactate", draw.normal(2, 1), label, split))


def test_one_cohort_does_not_count_twice(home: Home) -> None:
    source = CohortSource(home.folder, "alder")
    with pytest.raises(CohortUnsuitable, match="two sites"):
        bind(load_study(ROOT / "examples/phantom.toml"), {"a": source, "b": source})


def test_a_patient_of_two_cohorts_is_in_one_split(home: Home, manifest: Path, tmp_path: Path) -> None:
    swapped = tmp_path / "swapped.csv"
    text = manifest.read_text().replace(",train,", ",TEST,").replace(",test,", ",train,")
    swapped.write_text(text.replace(",TEST,", ",test,"))
    take_in(home, Request("swapped", (manifest.parent / "alder",), Rules(), labels=swapped))
    cohorts = {name: CohortSource(home.folder, name) for name in ("alder", "swapped")}
    with pytest.raises(PatientInTwoSplits, match="80 patients"):
        bind(load_study(ROOT / "examples/phantom.toml"), cohorts)


def test_a_run_keeps_to_the_state_that_a_cohort_had(home: Home, manifest: Path, tmp_path: Path) -> None:
    study = load_study(ROOT / "examples/phantom.toml")
    request = Request("moving", (manifest.parent / "birch",), Rules(), labels=manifest)
    take_in(home, request)
    begun = bind(study, {"birch": CohortSource(home.folder, "moving")})
    source = begun.materialise(tmp_path, "cpu")[0].source
    assert source.entries(study)
    shorter = tmp_path / "shorter.csv"
    shorter.write_text("\n".join(manifest.read_text().splitlines()[:130]))
    take_in(home, replace(request, labels=shorter))
    with pytest.raises(CohortUnsuitable, match="not the one that the run began with"):
        source.entries(study)
