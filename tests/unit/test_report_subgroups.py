"""Figures by subgroup as the page, the terminal and the schema of run.json have them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from client.exporting import card_of
from deploy.cli.progress import show_summary
from server.report import render
from tests.conftest import small_study
from tests.unit.page_reader import Page, check_can_be_read_without_eyes
from tests.unit.predicting.finished import opened

HERE = Path(__file__).parent
SCHEMA = json.loads((HERE.parents[1] / "docs" / "run.schema.json").read_text(encoding="utf-8"))


def shown() -> dict[str, Any]:
    """The completed sample with subgroups."""
    run: dict[str, Any] = json.loads((HERE / "samples" / "run_completed.json").read_text(encoding="utf-8"))
    site = run["final"]["sites"]["nihcc"]
    worse = {**copy.deepcopy(site), "n": 90, "auroc": 0.61, "intervals": {"auroc": [0.5, 0.7]}}
    better = {**copy.deepcopy(site), "n": 300, "auroc": 0.9, "f1": None}
    run["study"]["federation"] |= {"subgroups": ["sex", "scanner"], "min_cell": 12}
    run["final"]["subgroups"] = {"sex": {"F": better, "<b>M</b>": worse}, "scanner": {}}
    return run


def test_the_page_has_a_table_a_kind_and_names_the_gap() -> None:
    run = shown()
    jsonschema.Draft202012Validator(SCHEMA).validate(run)
    html = render(run, "")
    check_can_be_read_without_eyes(html)
    page = Page(html)
    (found,) = [table for table in page.tables if table[0][0] == "Sex"]
    assert [row[0] for row in found[1:]] == ["F", "<b>M</b>"] and found[2][1] == "90"
    assert "0.610" in found[2][2] and "0.50 to 0.70" in found[2][2]
    assert "best for “F” (0.900), worst for “<b>M</b>” (0.610), a gap of 0.290" in page.text
    assert "10 of 400 test images are in no row. A site tells no subgroup of fewer than 12" in page.text
    assert "Scanner: no site tells subgroups of it" in page.text


def test_a_page_without_subgroups_has_no_such_section() -> None:
    run = shown()
    del run["final"]["subgroups"]
    assert "Subgroup" not in Page(render(run, "")).text


def test_the_schema_knows_the_kinds() -> None:
    run = shown()
    run["final"]["subgroups"]["name"] = {}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(run)


def test_the_terminal_has_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_summary(shown(), Path("/somewhere"))
    lines = [line for line in capsys.readouterr().out.splitlines() if "by sex" in line]
    assert lines == ["AUROC 0.610 (<b>M</b>) to 0.900 (F) by sex"]


def test_the_terminal_says_what_could_not_be_compared(capsys: pytest.CaptureFixture[str]) -> None:
    show_summary(shown(), Path("/somewhere"))
    said = " ".join(capsys.readouterr().out.split())
    assert "nothing to compare by scanner: fewer than two groups of 12 patients at a site" in said


def test_the_model_card_has_a_table_a_kind(tmp_path: Path) -> None:
    found = shown()["final"]["subgroups"]
    study = small_study()
    card = card_of(opened(tmp_path, study, subgroups=found))
    assert "### By sex" in card and "| F | 300 | 0.900 |" in card
    assert "### By scanner\n\nNo hospital tells subgroups of it." in card
