"""``consilium simulate`` of a study with patience: it stops before its last round, and baselines do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.cli import main
from tests.integration.rounds.test_calibration_run import hospitals

STUDY = """
[study]
name = "early"
labels = {0 = "normal", 1 = "lesion"}
[sequence]
size = 8
[model]
hidden = 4
[training]
batch_size = 4
[federation]
rounds = 9
average_last = 2
patience = 1
patience_min_delta = 0.9
"""
"""No AUROC is better by as much, so the second test is the last one."""


def test_a_simulation_stops_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hospitals(tmp_path)
    (tmp_path / "study.toml").write_text(STUDY)
    arguments = ("--data", tmp_path / "manifest.csv", "--out", tmp_path / "run", "--baselines", "--seed", "1")
    told = ["consilium", "simulate", tmp_path / "study.toml", *arguments]
    monkeypatch.setattr("sys.argv", [*map(str, told)])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert not ended.value.code, printed.err
    run = json.loads((tmp_path / "run/run.json").read_text())
    assert run["status"] == "completed" and len(run["rounds"]) == 2
    assert run["final"]["stopping"] == {
        "figure": "auroc",
        "value": run["rounds"][0]["validation"]["value"],
        "stopped_after": 2,
    }
    assert "stopped after round 2: no better on validation since round 1" in printed.out
    assert set(run["baselines"]["local"]) == {"alder", "birch", "cedar"}
    assert "no better on validation since round 1" in (tmp_path / "run/report.html").read_text()
