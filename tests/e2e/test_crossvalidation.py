"""Small phantom hospitals, cross-validated: a patient is tested once, by a model that never saw it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client.cohorts.home import create_home
from client.cohorts.intake import Request as Intake
from client.cohorts.intake import take_in
from client.cohorts.rules import Rules
from client.manifest import Row, read_manifest, write_manifest
from client.sources import CohortSource
from common.errors import (
    ImageMissing,
    InvalidValue,
    OutputExists,
    QuorumNotReached,
    TooFewCases,
    TrialsSpendBudget,
)
from common.study import load_study
from deploy.crossvalidation.crossvalidation import Asked, Tell, crossvalidate
from deploy.launch import Request
from tests.e2e.test_engines import COMMAND
from tests.e2e.test_tuning import PRIVATE, STUDY


def one_each(manifest: Path, wanted: Mapping[tuple[str, str], int]) -> list[Row]:
    """A row of so many patients of each site and split, the two labels by turns."""
    patients = {row.patient_id: row for row in read_manifest(manifest).rows}.values()
    found: list[Row] = []
    for place, number in wanted.items():
        of_place = [row for row in patients if (row.site, row.split) == place]
        by_label = [[row for row in of_place if row.label == label] for label in "01"]
        turns = [row for pair in zip(*by_label, strict=False) for row in pair]
        found += turns[:number]
    return found


@pytest.fixture
def asked(tmp_path: Path, manifest: Path) -> Asked:
    """Two sites, of four and of one training patients, and two test patients."""
    (tmp_path / "study.toml").write_text(STUDY.replace("rounds = 2", "rounds = 1\nmin_sites = 1"))
    few = manifest.with_name(f"few-{tmp_path.name}.csv")
    wanted = {("alder", "train"): 4, ("alder", "test"): 2, ("birch", "train"): 1}
    write_manifest(few, one_each(manifest, wanted))
    request = Request(tmp_path / "study.toml", tmp_path / "out", "inprocess", data=few, device="cpu")
    return Asked(request, folds=None)


def told(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / "crossvalidation.json").read_text())
    return document


@pytest.mark.slow
def test_one_patient_at_a_time_and_a_site_without_others_has_no_part_in_it(asked: Asked) -> None:
    out = asked.request.out
    seen: list[tuple[int, int]] = []
    found = crossvalidate(asked, Tell(fold=lambda fold, of: seen.append((fold.number, of))))
    assert seen == [(number, 5) for number in range(1, 6)]
    assert [fold.patients for fold in found.folds] == [{"alder": 1}] * 4 + [{"birch": 1}]
    assert [fold.sites for fold in found.folds] == [2, 2, 2, 2, 1]
    assert found.untested == {"birch": 1}
    document = told(out)
    assert document["pooled"]["n"] == 4
    assert document["constant"]["accuracy"] == {"normal": 0.5, "lesion": 0.5}
    assert document["seed"] == 0 and not document["test_split_dealt"]
    assert load_study(out / "study.toml") == load_study(asked.request.study)
    assert "alder-00" not in (out / "crossvalidation.json").read_text()  # no patient is named

    with pytest.raises(OutputExists, match="earlier cross-validation"):
        crossvalidate(asked, Tell())
    again = replace(asked, request=replace(asked.request, overwrite=True))
    whole = crossvalidate(again, Tell()).to_dict()
    assert {**whole, "folds": 0} == {**document, "folds": 0}  # which have their durations


@pytest.mark.slow
def test_patients_of_the_test_split_are_dealt_only_if_that_is_asked_for(asked: Asked) -> None:
    found = crossvalidate(replace(asked, folds=2, deal_test=True), Tell())
    assert found.patients == {"alder": 6, "birch": 1}
    assert sum(fold.patients.get("alder", 0) for fold in found.folds) == 6
    assert found.sums["alder"].n == 6 and set(found.sums["alder"].patients.tolist()) == set(range(6))
    assert told(asked.request.out)["test_split_dealt"]


def test_what_cannot_be_held_out_is_refused_before_anything_is_trained(asked: Asked) -> None:
    lone = replace(asked, request=replace(asked.request, where=(("site", "birch"),)))
    with pytest.raises(TooFewCases, match="nobody can be held out"):
        crossvalidate(lone, Tell())
    with pytest.raises(InvalidValue, match="--folds 1"):
        crossvalidate(replace(asked, folds=1), Tell())
    asked.request.study.write_text(STUDY.replace("rounds = 2", "min_sites = 2"))
    with pytest.raises(QuorumNotReached, match="only 1 of 2 sites"):
        crossvalidate(replace(asked, folds=2), Tell())
    assert not asked.request.out.exists()


def test_a_picture_that_is_gone_is_named(asked: Asked, manifest: Path) -> None:
    rows = list(read_manifest(asked.request.data or Path()).rows)
    gone = manifest.with_name("without.csv")
    write_manifest(gone, [replace(rows[0], path="gone.png"), *rows[1:]])
    with pytest.raises(ImageMissing, match=r"gone\.png"):
        crossvalidate(replace(asked, folds=2, request=replace(asked.request, data=gone)), Tell())


@pytest.mark.slow
def test_the_command_shows_sites_and_constant_answers(asked: Asked) -> None:
    request = asked.request
    words = ["crossvalidate", request.study, "--data", request.data, "--out", request.out, "--all"]
    words += ["--folds", 2, "--device", "cpu"]
    done = subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, check=True)
    assert [line.split("  ")[0] for line in done.stderr.splitlines()[2:]] == ["fold 1/2", "fold 2/2"]
    assert "held-out cases of 2 folds" in done.stdout and "all sites" in done.stdout
    assert "always 'normal'" in done.stdout or "always 'lesion'" in done.stdout
    assert "test split's patients were dealt" in done.stdout
    wrong = subprocess.run(
        [*COMMAND, *map(str, words[:-4]), "--folds", "each"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2 and "patients" in wrong.stderr


@pytest.mark.slow
def test_a_private_study_on_a_cohort_needs_a_yes_and_takes_nothing_from_its_ledger(
    asked: Asked, manifest: Path, tmp_path: Path
) -> None:
    home = create_home(tmp_path / "home", "alder")
    take_in(home, Intake("chest", (manifest.parent / "alder",), Rules(), labels=manifest))
    asked.request.study.write_text(STUDY.replace("rounds = 2", "rounds = 1") + PRIVATE)
    place = (("alder", CohortSource(home.folder, "chest")),)
    asked = replace(asked, folds=3, request=replace(asked.request, data=None, cohorts=place))
    with pytest.raises(TrialsSpendBudget, match="alder: 2 trainings"):
        crossvalidate(asked, Tell())
    assert not asked.request.out.exists()
    found = crossvalidate(replace(asked, yes=True), Tell())
    assert len(found.folds) == 3 and not found.untested
    assert not home.ledger("chest").path.exists()
