"""``consilium explain`` of each task: a phantom's manifest in, a page and files out; or a refusal by name."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from common.study import to_canonical
from common.weights import STUDY_TEXT, load_weights, save_weights
from deploy.cli.app import app
from deploy.phantom import write_phantom
from tests.conftest import small_study
from tests.unit.explaining.asked import ASKED, BOXES, HISTOGRAMS, PIXELS, RISK
from tests.unit.predicting.finished import finished

RUNNER = CliRunner()


class Bench:
    """A phantom's hospital, and a model of its study with its first weights."""

    def __init__(self, folder: Path, sections: dict[str, Any]) -> None:
        self.folder, study = folder, small_study(**sections)
        self.manifest = write_phantom(folder / "phantom", study, sites=1, patients=6)
        (folder / "run").mkdir()
        self.run = finished(folder / "run", study)
        if study.study.task == "detection":
            # Half sure of every box: fresh weights would find none.
            weights = load_weights(self.run / "model.safetensors")
            weights["head.bias"] = weights["head.bias"] * 0
            save_weights(self.run / "model.safetensors", weights, {STUDY_TEXT: to_canonical(study)})

    def explain(self, *options: str) -> tuple[int, str, str]:
        """The exit status, what is printed, and all that is said."""
        page = ["--out", str(self.folder / "e.html"), "--limit", "2"]
        done = RUNNER.invoke(app, ["explain", str(self.run), str(self.manifest), *page, *options])
        return done.exit_code, done.stdout, f"{done.output} {done.exception!r}"


SERVED = {name: ASKED[name] for name in ("several labels", "risk", "pixels conv_gru", "boxes conv_gru")}
SERVED |= {f"histograms {name}": HISTOGRAMS[name] for name in ("rows", "boxes patches")}


@pytest.mark.parametrize("name", SERVED)
def test_a_page_and_files(tmp_path: Path, name: str) -> None:
    bench, files = Bench(tmp_path, SERVED[name]), tmp_path / "files"
    code, printed, said = bench.explain("--json", "--files", str(files))
    assert code == 0, said
    told = json.loads(printed[printed.index("{") :])["cases"]
    kinds = {".png", ".json", ".csv"} if name == "risk" else {".png", ".json"}
    assert {path.suffix for path in files.iterdir()} == kinds
    for number, case in enumerate(told, start=1):
        assert json.loads((files / f"{number:04d}.json").read_text(encoding="utf-8")) == case
        with Image.open(files / f"{number:04d}.png") as image:
            assert image.mode == "RGB" and min(image.size) > 100
    assert (tmp_path / "e.html").stat().st_mode & 0o077 == 0


def test_an_earlier_step(tmp_path: Path) -> None:
    bench, files = Bench(tmp_path, RISK), tmp_path / "files"
    code, _, said = bench.explain("--step", "1", "--files", str(files))
    assert code == 0 and "after step 1" in said
    with (files / "0001.csv").open(newline="", encoding="utf-8") as file:
        assert {line["step"] for line in csv.DictReader(file)} == {"1"}


def test_a_step_that_no_case_has_refuses_each(tmp_path: Path) -> None:
    code, _, said = Bench(tmp_path, RISK).explain("--step", "999")
    assert code == 4 and "nothing-to-explain" in said


@pytest.mark.parametrize(
    ("sections", "options", "words"),
    [
        (PIXELS, ("--box", "1"), "--box serves detection"),
        (BOXES, ("--step", "1"), "--step serves risk"),
        (BOXES, ("--class", "bone"), "no class 'bone'"),
        ({"study": {"task": "generation"}}, (), "this is a model of generation"),
    ],
    ids=["pixels", "boxes", "class", "generation"],
)
def test_refusals_name_what_is_not_served(
    tmp_path: Path, sections: dict[str, Any], options: tuple[str, ...], words: str
) -> None:
    code, _, said = Bench(tmp_path, sections).explain(*options)
    assert code != 0 and words in said
    assert not (tmp_path / "e.html").exists()
