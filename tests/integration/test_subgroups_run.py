"""A simulation whose manifest tells sex, age and scanner ends with figures by subgroup."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from client.manifest import Row, write_manifest
from deploy.launch import Request, launch
from tests.unit.conftest import picture
from tests.unit.page_reader import Page

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "run.schema.json").read_text(encoding="utf-8"))
STUDY = """
[study]
name = "small"
labels = {0 = "normal", 1 = "lesion"}
[sequence]
kind = "rows"
size = 8
[model]
hidden = 4
[training]
batch_size = 4
[federation]
rounds = 2
subgroups = ["sex", "age", "scanner"]
min_cell = 6
"""
SITES, TESTED = ("alder", "birch"), 36


def write_hospitals(folder: Path) -> Path:
    """Two sites; birch has 4 test patients of unknown sex, and few of one of its two scanners."""
    rng, rows = np.random.default_rng(0), []
    for site in SITES:
        for number in range(-6, TESTED):
            patient = f"{site}-{number}"
            Image.fromarray(picture(number % 2, rng)).save(folder / f"{patient}.png")
            sex = "" if site == "birch" and 0 <= number < 4 else "FM"[number // 2 % 2]
            groups = {
                "sex": sex,
                "age": "70" if number % 3 else "30",
                "scanner": "old" if number < (5 if site == "birch" else 18) else "new",
            }
            split = "train" if number < 0 else "test"
            rows.append(Row(f"{patient}.png", site, patient, split, str(number % 2), number, **groups))
    write_manifest(folder / "manifest.csv", rows)
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("subgroups")
    (folder / "study.toml").write_text(STUDY)
    data = write_hospitals(folder)
    launch(Request(folder / "study.toml", folder / "out", "inprocess", data=data, device="cpu"))
    return folder / "out"


@pytest.fixture(scope="module")
def run(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return document


def test_run_json_has_figures_of_every_group_that_may_be_told(run: dict[str, Any]) -> None:
    Draft202012Validator(SCHEMA).validate(run)
    told = run["final"]["subgroups"]
    sizes = {kind: {name: each["n"] for name, each in groups.items()} for kind, groups in told.items()}
    assert sizes == {
        # Of birch neither the 4 unknown nor the 16 men, from whom the 4 would follow.
        "sex": {"F": 18 + 16, "M": 18},
        "age": {"18-39": 24, "65+": 48},
        "scanner": {"new": 18, "old": 18},  # birch has 5 patients of the one, so it tells neither
    }
    assert all(0 <= each["accuracy"] <= 1 for groups in told.values() for each in groups.values())


def test_the_groups_of_a_kind_that_all_tell_add_up_to_the_whole(run: dict[str, Any]) -> None:
    pooled, age = run["final"]["pooled"], run["final"]["subgroups"]["age"]
    assert sum(each["n"] for each in age.values()) == pooled["n"] == 2 * TESTED
    right = sum(each["n"] * each["accuracy"] for each in age.values())
    assert right == pytest.approx(pooled["n"] * pooled["accuracy"])
    loss = sum(each["n"] * each["loss"] for each in age.values())
    assert loss == pytest.approx(pooled["n"] * pooled["loss"])


def test_single_cases_give_intervals_in_a_simulation(run: dict[str, Any]) -> None:
    low, high = run["final"]["subgroups"]["age"]["65+"]["intervals"]["accuracy"]
    assert low < run["final"]["subgroups"]["age"]["65+"]["accuracy"] < high


def test_the_report_has_a_table_a_kind(out: Path, run: dict[str, Any]) -> None:
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    found = {table[0][0]: table for table in page.tables if table[0][0] in ("Sex", "Age in years", "Scanner")}
    assert set(found) == {"Sex", "Age in years", "Scanner"}
    assert [row[:2] for row in found["Age in years"][1:]] == [["18-39", "24"], ["65+", "48"]]
    assert "a gap of" in page.text and "fewer than 6 patients" in page.text
