"""``consilium predict`` and ``draw`` for each task: a phantom's manifest in, answers out, line by line."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from client.explaining.panels import GAP, LINE
from client.predicting.chart import BOTTOM, COURSE, ENDED, EVENT, HEIGHT, LEFT, TOP
from client.sources import ManifestSource
from client.trainer import outputs
from common.errors import NoSuchSite
from common.learning import learning_of
from common.models import build_model, load_state
from common.study import Study
from common.weights import load_weights
from deploy.cli.app import app
from deploy.phantom import write_phantom
from tests.conftest import small_study
from tests.unit.predicting.finished import finished

RUNNER = CliRunner()
VARIABLES = {"HR": {"centre": 80.0, "scale": 10.0}, "Lactate": {"centre": 1.0, "scale": 0.5}}
LABELS = {"0": "background", "1": "nodule", "2": "mass"}


class Bench:
    """A phantom's hospital and a model of its study with its first weights."""

    def __init__(self, folder: Path, study: Study, **final: Any) -> None:
        self.study, self.folder = study, folder
        self.manifest = write_phantom(folder / "phantom", study, sites=1, patients=6)
        (folder / "run").mkdir()
        self.run = finished(folder / "run", study, **final)

    def predict(self, *options: str) -> list[dict[str, Any]]:
        """The cases of the JSON that the command prints."""
        done = RUNNER.invoke(app, ["predict", str(self.run), str(self.manifest), "--json", *options])
        assert done.exit_code == 0, done.output
        cases: list[dict[str, Any]] = json.loads(done.stdout)["cases"]
        return cases

    def rows(self, *options: str) -> list[dict[str, str]]:
        """The lines of the CSV that the command writes."""
        out = self.folder / "p.csv"
        given = [str(self.run), str(self.manifest), "--out", str(out), *options]
        done = RUNNER.invoke(app, ["predict", *given])
        assert done.exit_code == 0, done.output
        with out.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def refused(self, *options: str) -> str:
        """What the command says where it refuses."""
        done = RUNNER.invoke(app, ["predict", str(self.run), str(self.manifest), *options])
        assert done.exit_code != 0
        return f"{done.output} {done.exception!r}"

    def outputs(self) -> torch.Tensor:
        """What the trainer's own way gives of all cases, in the manifest's order."""
        (site,) = {row["site"] for row in self.lines()}
        source = ManifestSource(self.manifest, site)
        entries = sorted(source.entries(self.study), key=lambda entry: int(entry.where.split()[-1]))
        network = build_model(self.study)
        load_state(network, load_weights(self.run / "model.safetensors"))
        batch = source.tensors(entries, self.study, torch.device("cpu"))
        return torch.cat([output for output, _ in outputs(network.eval(), batch)])

    def lines(self) -> list[dict[str, str]]:
        """Of the manifest."""
        with self.manifest.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def bench(folder: Path, sections: Mapping[str, Mapping[str, Any]], **final: Any) -> Bench:
    return Bench(folder, small_study(**sections), **final)


def test_several_labels(tmp_path: Path) -> None:
    calibration = {"form": "labels", "temperature": [1.0, 2.0], "bias": [0.0, 3.0], "threshold": [1.0, 0.5]}
    made = bench(tmp_path, {"study": {"several_labels": True}}, calibration=calibration)
    found, logits = made.predict(), made.outputs()
    expected = torch.stack([logits[:, 0].sigmoid(), (logits[:, 1] / 2 + 3).sigmoid()], dim=1)
    for case, row in zip(found, expected.tolist(), strict=True):
        assert list(case["probabilities"].values()) == pytest.approx(row, abs=1e-5)
        assert case["labels"] == ["abnormal"] and case["decision"] == "abnormal"
        assert 0 < case["uncertainty"]["abnormal"]["predictive_entropy"] < math.log(2)
    assert {"p(normal)", "p(abnormal)", "entropy(normal)"} <= made.rows()[0].keys()


RISK = {
    "study": {"task": "risk", "labels": {"0": "survived", "1": "died"}},
    "sequence": {"kind": "steps", "variables": VARIABLES, "time_scale": 60.0},
}


def test_risk_of_records(tmp_path: Path) -> None:
    made = bench(tmp_path, RISK)
    found, logits = made.predict(), made.outputs()
    assert len(found) == 6
    for case, row in zip(found, logits.sigmoid(), strict=True):
        by_step = case["risk_by_step"]
        assert [step["risk"] for step in by_step] == pytest.approx(row[: case["steps"]].tolist(), abs=1e-5)
        assert case["risk"] == by_step[-1]["risk"]
        assert case["decision"] == ("died" if case["risk"] >= 0.5 else "survived")
        times = [step["time"] for step in by_step]
        assert times == sorted(times) and max(times) > 1  # minutes, not units of the study
    rows = made.rows()
    assert [float(row["risk(died)"]) for row in rows] == pytest.approx([c["risk"] for c in found], abs=1e-4)


def test_the_course_of_a_risk_is_drawn_beside_its_end(tmp_path: Path) -> None:
    made, folder = bench(tmp_path, RISK), tmp_path / "courses"
    rows = made.predict("--overlay", str(folder))
    (file,) = made.manifest.parent.rglob("records.npz")
    assert len(list(folder.iterdir())) == len(rows)
    done = RUNNER.invoke(app, ["predict", str(made.run), str(file), "--overlay", str(tmp_path / "alone")])
    assert done.exit_code == 0, done.output
    ends = {"1": EVENT, "0": ENDED}
    for line, drawn in zip(made.lines(), sorted(folder.iterdir()), strict=True):
        number = int(line["path"].rpartition("#")[2])
        with Image.open(drawn) as shown, Image.open(tmp_path / "alone" / f"{number + 1:04d}.png") as alone:
            assert colours(shown) >= {COURSE, ends[line["label"]]}
            assert not {EVENT, ENDED} & colours(alone), "a file of records knows no ends"


def colours(picture: Image.Image) -> set[tuple[int, ...]]:
    """All that stand inside the axes, where no words are."""
    inside = np.asarray(picture)[TOP : HEIGHT - BOTTOM, LEFT:]
    return {tuple(pixel) for row in inside.tolist() for pixel in row}


def test_several_labels_have_no_overlay(tmp_path: Path) -> None:
    made = bench(tmp_path, {"study": {"several_labels": True}})
    assert "--overlay serves" in made.refused("--overlay", str(tmp_path / "o"))


def test_risk_of_a_file_of_records(tmp_path: Path) -> None:
    made = bench(tmp_path, RISK)
    of_manifest = [case["risk"] for case in made.predict()]
    (file,) = made.manifest.parent.rglob("records.npz")
    done = RUNNER.invoke(app, ["predict", str(made.run), str(file), "--json"])
    cases = json.loads(done.stdout)["cases"]
    assert cases[3]["input"].endswith("records.npz#3")
    assert sorted(case["risk"] for case in cases) == sorted(of_manifest)


def test_risk_of_clips(tmp_path: Path) -> None:
    sequence = {"kind": "frames", "size": 16}
    made = bench(tmp_path, {"study": RISK["study"], "sequence": sequence, "model": {"encoder": "none"}})
    found = made.predict()
    expected = [row[case["steps"] - 1] for row, case in zip(made.outputs().sigmoid(), found, strict=True)]
    assert [case["risk"] for case in found] == pytest.approx([float(risk) for risk in expected], abs=1e-5)
    assert all(step["time"] is None for case in found for step in case["risk_by_step"])


PIXELS = {"study": {"task": "segmentation", "labels": LABELS}}
STACK = {**PIXELS, "sequence": {"kind": "slices", "size": 16}, "model": {"cell": "conv_gru"}}
ROWS = {**PIXELS, "sequence": {"kind": "rows", "size": 16}}
PATCHES = {**PIXELS, "sequence": {"kind": "patches", "size": 16, "patch": 4, "order": "hilbert"}}


@pytest.mark.parametrize("sections", [STACK, ROWS, PATCHES], ids=["slices", "rows", "patches"])
def test_segmentation(tmp_path: Path, sections: Mapping[str, Mapping[str, Any]]) -> None:
    made, folder = bench(tmp_path, sections), tmp_path / "masks"
    found = made.predict("--masks", str(folder), "--overlay", str(tmp_path / "overlay"))
    # The counts that training keeps of the same cases are those of the masks that are written.
    steps = made.outputs().argmax(dim=2)
    for number, case in enumerate(found):
        with np.load(folder / f"{number + 1:04d}.npz") as file:
            mask, names = file["mask"], file["classes"].tolist()
        assert names == list(LABELS.values()) and list(mask.shape) == case["shape"]
        for value, name in enumerate(names[1:], start=1):
            told = case["classes"][name]
            assert told["pixels"] == int((mask == value).sum()) == sum(told["pixels_by_picture"])
            assert told["millilitres"] is None and told["square_millimetres_by_picture"] is None
        own = steps[number][: case["steps"]].flatten()
        if mask.shape[1] == 16:
            assert np.array_equal(np.bincount(mask.flat, minlength=3), np.bincount(own, minlength=3))
        pictures = sorted((tmp_path / "overlay").glob(f"{number + 1:04d}-*.png"))
        assert len(pictures) == len(mask)
    with Image.open(pictures[0]) as picture:
        # Three panels: read, found and marked; their titles, and a line of the legend for each class.
        assert picture.mode == "RGB" and picture.size == (3 * 256 + 2 * GAP, 256 + 3 * LINE)
    assert set(made.rows()[0]) >= {"decision", "pixels(nodule)", "pixels(mass)"}


BOXES = {"study": {"task": "detection", "labels": {"1": "nodule", "2": "mass"}}}
FILM = {**BOXES, "sequence": {"kind": "frames", "size": 32}, "model": {"cell": "conv_gru", "encoder": "cnn"}}
SQUARES = {**BOXES, "sequence": {"kind": "patches", "size": 32, "patch": 8}}


@pytest.mark.parametrize("sections", [FILM, SQUARES], ids=["frames", "patches"])
def test_detection(tmp_path: Path, sections: Mapping[str, Mapping[str, Any]]) -> None:
    made = bench(tmp_path, sections)
    found = made.predict("--at-least", "0.01", "--overlay", str(tmp_path / "overlay"))
    learning, boxes = learning_of(made.study), [case["boxes"] for case in found]
    lengths = torch.tensor([case["steps"] for case in found])
    expected = learning.found(made.outputs(), lengths)  # type: ignore[attr-defined]
    assert any(boxes)
    for case, pictures in zip(found, expected, strict=True):
        _, height, width = case["shape"]
        sides = [[box[side] for side in ("top", "left", "bottom", "right")] for box in case["boxes"]]
        own = torch.cat([picture.boxes for picture in pictures]) * torch.tensor([height, width] * 2)
        assert np.allclose(np.array(sides).reshape(-1, 4), own.numpy(), atol=1e-2)
        assert all(box["class"] in ("nodule", "mass") for box in case["boxes"])
    overlays = list((tmp_path / "overlay").iterdir())
    with Image.open(overlays[0]) as picture:
        assert picture.size == (3 * 256 + 2 * GAP, 256 + 3 * LINE)
    assert len(overlays) == sum(case["shape"][0] for case in found)
    rows = made.rows("--at-least", "0.01")
    assert len(rows) == sum(max(1, len(own)) for own in boxes)
    assert len(made.rows("--at-least", "1.0")) == len(found)  # nothing found, and still a line each


def test_generation(tmp_path: Path) -> None:
    study = {"task": "generation", "labels": {"0": "fine", "1": "coarse"}}
    made = bench(tmp_path, {"study": study, "model": {"encoder": "none"}})
    found = made.predict()
    for case in found:
        bits = case["bits_per_dim"]
        assert set(bits) == {"fine", "coarse"} and all(0 < value < 26 for value in bits.values())
        assert bits[case["decision"]] == case["least_bits_per_dim"] == min(bits.values())
    with made.manifest.open(newline="") as file:
        labels = [row["label"] for row in csv.DictReader(file)]
    losses = truth(made, labels)
    told = [c["bits_per_dim"][study["labels"][label]] for c, label in zip(found, labels, strict=True)]  # type: ignore[index]
    assert told == pytest.approx(losses, abs=1e-4)


def truth(made: Bench, labels: list[str]) -> list[float]:
    """Bits a pixel of each picture as one of its own class, in the trainer's way."""
    (site,) = {row["site"] for row in made.lines()}
    source = ManifestSource(made.manifest, site)
    entries = sorted(source.entries(made.study), key=lambda entry: int(entry.where.split()[-1]))
    network = build_model(made.study)
    load_state(network, load_weights(made.run / "model.safetensors"))
    batch = source.tensors(entries, made.study, torch.device("cpu"))
    assert batch.targets.tolist() == [int(label) for label in labels]
    ((output, own),) = outputs(network.eval(), batch)
    nats = learning_of(made.study).losses(output, own)
    return [float(value) / 64 / math.log(2) for value in nats]


def test_draw(tmp_path: Path) -> None:
    study = {"task": "generation", "labels": {"0": "fine", "1": "coarse"}}
    made, sheet = bench(tmp_path, {"study": study, "model": {"encoder": "none"}}), tmp_path / "sheet.png"
    given = ["draw", str(made.run), "--count", "3", "--seed", "5", "--out", str(sheet)]
    done = RUNNER.invoke(app, [*given, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"] == ["fine", "coarse"]
    first = sheet.read_bytes()
    with Image.open(sheet) as picture:  # 3 pictures of 64 and two gaps; two rows, each under its name
        width, height = 3 * 64 + 2 * 2, 2 * (64 + LINE) + GAP
        assert picture.size == (2 * width, 2 * height)  # small sheets are made larger
    assert RUNNER.invoke(app, given).exit_code == 0 and sheet.read_bytes() == first
    assert RUNNER.invoke(app, [*given, "--of", "coarse"]).exit_code == 0 and sheet.read_bytes() != first
    assert RUNNER.invoke(app, [*given, "--of", "nobody"]).exit_code != 0
    assert RUNNER.invoke(app, [*given, "--where", "split=test"]).exit_code == 2  # of which manifest?


def test_the_terminal_says_once_why_cases_are_refused(tmp_path: Path) -> None:
    made = bench(tmp_path, RISK)
    (tmp_path / "p.csv").write_text("path,site,patient_id,split,label\na.png,s,p,test,0\nb.png,s,q,test,0\n")
    done = RUNNER.invoke(app, ["predict", str(made.run), str(tmp_path / "p.csv")])
    assert done.exit_code == 4
    (said,) = [line for line in done.stdout.splitlines() if line.startswith("refused ")]
    assert said.startswith("refused input-other-kind (2 cases): ") and "records of measurements" in said


def test_true_pictures_stand_below_those_drawn(tmp_path: Path) -> None:
    study = {"task": "generation", "labels": {"0": "fine", "1": "coarse"}}
    made, sheet = bench(tmp_path, {"study": study, "model": {"encoder": "none"}}), tmp_path / "sheet.png"
    given = ["draw", str(made.run), "--count", "2", "--out", str(sheet), "--beside", str(made.manifest)]
    done = RUNNER.invoke(app, given)
    assert done.exit_code == 0, done.output
    assert sheet.stat().st_mode & 0o077 == 0, "it shows patients' pictures"
    first = next(line for line in made.lines() if line["label"] == "1")
    true = np.load(made.manifest.parent / first["path"])
    with Image.open(sheet) as picture:
        shown = np.asarray(picture)[3 * (64 + LINE + GAP) + LINE :, :64, 0]
    levels = np.round(255 * np.clip(true, 0, 1)) if true.dtype.kind == "f" else true
    assert shown.shape == (64, 64) and np.abs(shown[4::8, 4::8] - levels.astype(float)).max() <= 1


def test_a_manifest_without_a_class_of_the_model_shows_no_true_pictures(tmp_path: Path) -> None:
    study = {"task": "generation", "labels": {"0": "fine", "1": "coarse"}}
    made, sheet = bench(tmp_path, {"study": study, "model": {"encoder": "none"}}), tmp_path / "sheet.png"
    other = tmp_path / "other.csv"
    other.write_text("path,site,patient_id,split,label\na.png,s,p,test,7\n")
    done = RUNNER.invoke(app, ["draw", str(made.run), "--out", str(sheet), "--beside", str(other)])
    assert isinstance(done.exception, NoSuchSite) and "a label of fine, coarse" in str(done.exception)
    assert not sheet.exists()


def test_masks_in_a_folder_are_no_cases(tmp_path: Path) -> None:
    made = bench(tmp_path, STACK)
    folder = made.manifest.parent / Path(made.lines()[0]["path"]).parent
    assert list(folder.glob("*-mask.*"))
    out = tmp_path / "p.csv"
    done = RUNNER.invoke(app, ["predict", str(made.run), str(folder), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "-mask" not in out.read_text() and len(out.read_text().splitlines()) > 1


def test_only_generators_draw(tmp_path: Path) -> None:
    run = finished(tmp_path, small_study())
    done = RUNNER.invoke(app, ["draw", str(run), "--out", str(tmp_path / "s.png")])
    assert done.exit_code != 0 and "draw serves generation" in f"{done.output} {done.exception!r}"
