"""A study whose sites have validation cases ends with a calibration, in record, model and report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import MessageType
from jsonschema import Draft202012Validator
from PIL import Image
from safetensors import safe_open

from client.manifest import Row, write_manifest
from client.site import Site
from common.metrics import Calibration
from common.study import to_toml
from server.report import render
from server.study_run import CALIBRATION_TEXT, RunPlan, run_study
from tests.unit.conftest import Fault, Faults, FaultyGrid, picture, small_study
from tests.unit.page_reader import Page

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "run.schema.json").read_text(encoding="utf-8"))
SPLITS = {"train": 12, "test": 8, "val": 8}


def hospitals(folder: Path, without_val: tuple[str, ...] = ()) -> list[Site]:
    """Three sites whose labels are wrong now and then, so that no model should be sure."""
    rng, rows = np.random.default_rng(0), []
    for site in ("alder", "birch", "cedar"):
        for split, cases in SPLITS.items():
            for number in range(0 if split == "val" and site in without_val else cases):
                patient = f"{site}-{split}-{number}"
                shown = number % 2 if number % 4 else 1 - number % 2
                Image.fromarray(picture(shown, rng)).save(folder / f"{patient}.png")
                rows.append(Row(f"{patient}.png", site, patient, split, str(number % 2), number))
    write_manifest(folder / "manifest.csv", rows)
    names = ("alder", "birch", "cedar")
    return [Site(name, str(folder / "manifest.csv")) for name in names]


def run_of(tmp_path: Path, sites: list[Site], faults: dict[str, Fault] | None = None, **sections: Any) -> Any:
    """run.json of a study over the sites, valid against its schema."""
    plan = RunPlan(small_study(**sections), 0, tmp_path / "run", "test", 3, 1.0)
    run_study(FaultyGrid(sites, faults, 0), plan)
    run = json.loads((plan.out / "run.json").read_text(encoding="utf-8"))
    Draft202012Validator(SCHEMA).validate(run)
    return run


def test_it_is_fitted_to_validation_cases_and_kept_with_the_model(tmp_path: Path) -> None:
    sections = {"federation": {"rounds": 6}, "training": {"local_epochs": 4}}
    run = run_of(tmp_path, hospitals(tmp_path), **sections)
    told = run["final"]["calibration"]
    assert (told["split"], told["n"], told["sites"]) == ("val", 24, ["alder", "birch", "cedar"])
    assert run["final"]["pooled"]["n"] == 24 and run["sites"]["alder"]["val_cases"] == 8
    tested = told["tested"]
    assert set(tested) == {"as_is", "calibrated"}
    assert tested["as_is"]["accuracy"] == pytest.approx(run["final"]["pooled"]["accuracy"])
    with safe_open(tmp_path / "run" / "model.safetensors", "numpy") as file:
        kept = Calibration.of_json(json.loads(file.metadata()[CALIBRATION_TEXT]))
    assert kept == Calibration.of_json(told)
    page = Page(render(run, to_toml(small_study())))
    assert "Fitted to 24 validation images of 3 sites" in page.text


def test_a_site_without_validation_cases_is_not_asked(tmp_path: Path) -> None:
    run = run_of(tmp_path, hospitals(tmp_path, without_val=("birch",)), federation={"rounds": 6})
    assert run["sites"]["birch"]["val_cases"] == 0
    told = run["final"]["calibration"]
    assert told is None or told["sites"] == ["alder", "cedar"]


@pytest.mark.parametrize("how", ["off", "without"])
def test_without_validation_cases_or_wish_there_is_none(tmp_path: Path, how: str) -> None:
    everybody = ("alder", "birch", "cedar") if how == "without" else ()
    run = run_of(
        tmp_path,
        hospitals(tmp_path, without_val=everybody),
        federation={"calibrate": "off" if how == "off" else "auto"},
    )
    assert run["final"].get("calibration") is None
    assert ("calibration" in run["final"]) == (how == "without")


def test_counts_of_more_cases_than_were_described_do_not_count(tmp_path: Path) -> None:
    """A site that answers with the counts of its test cases of which there are more, say."""
    sites = hospitals(tmp_path)
    faults = {"cedar": Faults.says(MessageType.EVALUATE, base_digest="0" * 64)}
    run = run_of(tmp_path, sites, faults, federation={"rounds": 6})
    told = run["final"]["calibration"]
    assert told is None or told["sites"] == ["alder", "birch"]
