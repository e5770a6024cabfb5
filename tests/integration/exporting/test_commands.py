"""The commands predict, explain and export, from the line that is typed to the file that is left."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from common.errors import TaskNotServed
from deploy.cli.app import app
from tests.conftest import small_study
from tests.integration.exporting.models import MODELS
from tests.unit.cohorts.archives import laid, picture
from tests.unit.predicting.finished import finished

RUNNER = CliRunner()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run, beside two pictures and a blank one."""
    folder = tmp_path / "run"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8)).save(tmp_path / name)
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "blank.png")
    return finished(folder, small_study(), rounds=3)


def test_predict(run: Path, tmp_path: Path) -> None:
    named = [str(tmp_path / name) for name in ("a.png", "b.png")]
    done = RUNNER.invoke(app, ["predict", str(run), *named, "--out", str(tmp_path / "p.csv")])
    assert done.exit_code == 0, done.output
    assert "a.png" in done.output and "not calibrated" in done.output
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 3


def test_predict_tells_of_refusals_by_its_exit_status(run: Path, tmp_path: Path) -> None:
    named = [str(tmp_path / name) for name in ("blank.png", "a.png")]
    overlay = tmp_path / "overlay"
    done = RUNNER.invoke(app, ["predict", str(run), *named, "--json", "--overlay", str(overlay)])
    assert done.exit_code == 4
    refused, answered = json.loads(done.stdout)["cases"]
    assert refused["refused"]["code"] == "input-blank" and "decision" in answered
    assert [path.name for path in overlay.iterdir()] == ["0002.png"]


def test_predict_wants_an_input(run: Path) -> None:
    assert RUNNER.invoke(app, ["predict", str(run)]).exit_code == 2


def test_what_is_written_names_no_patient(run: Path, tmp_path: Path) -> None:
    laid(tmp_path / "dicom", [picture("Mueller", number=n) for n in (1, 2)])
    out = tmp_path / "p.json"
    done = RUNNER.invoke(app, ["predict", str(run), str(tmp_path / "dicom"), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "Mueller" not in out.read_text() + done.output
    assert [case["input"] for case in json.loads(out.read_text())["cases"]] == ["IM0000", "IM0001"]


def test_explain(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "e.html"
    given = [str(tmp_path / "a.png"), str(tmp_path / "blank.png")]
    done = RUNNER.invoke(app, ["explain", str(run), *given, "--out", str(page)])
    assert done.exit_code == 4 and "input-blank" in done.output
    assert page.read_text().startswith("<!doctype html>")
    assert page.stat().st_mode & 0o077 == 0


def test_export_and_card(run: Path, tmp_path: Path) -> None:
    given = ["--format", "torch", "--out", str(tmp_path / "m.pt2"), "--card", str(tmp_path / "CARD.md")]
    done = RUNNER.invoke(app, ["export", str(run), *given, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["largest_difference"] <= told["tolerance"] and told["size_bytes"] > 0
    card = (tmp_path / "CARD.md").read_text()
    assert card.startswith("# Model card: tiny") and "no medical device" in card


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param({"study": {"several_labels": True}}, id="several labels", marks=pytest.mark.slow),
        pytest.param(
            {
                "study": {"task": "risk", "labels": {"0": "survived", "1": "died"}},
                "sequence": {"kind": "steps", "variables": {"HR": {"centre": 80.0, "scale": 10.0}}},
            },
            id="risk",
        ),
        pytest.param(MODELS["segmentation slices conv_gru cnn"], id="segmentation", marks=pytest.mark.slow),
        pytest.param(MODELS["detection frames conv_gru cnn"], id="detection", marks=pytest.mark.slow),
        pytest.param(MODELS["generation rows gru"], id="generation"),
    ],
)
def test_export_of_other_tasks(tmp_path: Path, sections: dict[str, dict[str, object]]) -> None:
    (tmp_path / "run").mkdir()
    run = finished(tmp_path / "run", small_study(**sections))
    card = tmp_path / "CARD.md"
    given = ["export", str(run), "--format", "torch", "--out", str(tmp_path / "m.pt2"), "--json"]
    done = RUNNER.invoke(app, [*given, "--card", str(card)])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert 0 <= told["largest_difference"] <= told["tolerance"]
    text = card.read_text()
    assert "| in | `steps` | (batch, length, " in text and "| out | " in text


def test_export_of_the_step_that_draws(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    run = finished(tmp_path / "run", small_study(**MODELS["generation rows gru"]))
    given = ["export", str(run), "--format", "torch", "--step", "--out", str(tmp_path / "m.pt2")]
    done = RUNNER.invoke(app, [*given, "--card", str(tmp_path / "CARD.md")])
    assert done.exit_code == 0, done.output
    assert "bits a pixel" in done.output
    assert "| out | `next_state` | (1, batch, 8) |" in (tmp_path / "CARD.md").read_text()


def test_export_has_a_step_of_generation_alone(run: Path, tmp_path: Path) -> None:
    done = RUNNER.invoke(app, ["export", str(run), "--step", "--out", str(tmp_path / "m.onnx")])
    assert isinstance(done.exception, TaskNotServed)
    assert not (tmp_path / "m.onnx").exists()


def test_export_wants_something_to_write(run: Path, tmp_path: Path) -> None:
    assert RUNNER.invoke(app, ["export", str(run)]).exit_code == 2
    wrong = ["export", str(run), "--format", "torch", "--int8", "--out", str(tmp_path / "m")]
    assert RUNNER.invoke(app, wrong).exit_code == 2
