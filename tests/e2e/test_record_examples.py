"""The examples on records, as their head comments run them, reach what docs/examples.md says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"
OPTIONS = ("--site-from", "hospital", "--ignore", "num")


def test_heart_disease_of_four_hospitals(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = data_folder / "heart/heart_disease.csv"
    found = final(monkeypatch, "heart-disease", tmp_path, "--records", table, *OPTIONS)
    assert found["sites"].keys() == {"cleveland", "hungarian", "switzerland", "va"}
    assert found["pooled"]["n"] == 162 and found["pooled"]["accuracy"] >= 0.79


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_deaths_in_four_intensive_care_units(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    icu = data_folder / "icu"
    tables = ("--records", icu / "events.csv.gz", "--labels", icu / "stays.csv")
    found = final(monkeypatch, "icu-mortality", tmp_path, *tables, "--site-from", "unit", "--missing", "-1")
    assert len(found["sites"]) == 4
    assert found["pooled"]["n"] == 1000 and found["pooled"]["auroc"] >= 0.81


def final(
    monkeypatch: pytest.MonkeyPatch, example: str, folder: Path, *arguments: str | Path
) -> dict[str, Any]:
    """What the last test of an example's study found."""
    words = ["simulate", EXAMPLES / f"{example}.toml", *arguments, "--out", folder / "run"]
    monkeypatch.setattr("sys.argv", ["consilium", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    run: dict[str, dict[str, Any]] = json.loads((folder / "run/run.json").read_text(encoding="utf-8"))
    return run["final"]
