"""A record's contributions add up wherever they are written, and what is drawn shows what was explained."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from client.explaining import Explanation, Wanted, explain, render, write_files
from client.explaining.contributions import Contributions
from client.explaining.drawing import drawing_of, layers_of
from client.explaining.heat_map import SHOWN, colour_of, heat_map
from client.explaining.marks import MARK, marked
from client.explaining.pictures import AGAINST, FOR
from client.explaining.question import Place
from client.predicting import TrainedModel
from client.predicting.detection import Box
from tests.unit.explaining.asked import ASKED, RISK, case_of, model_of
from tests.unit.page_reader import (
    EVIL,
    Page,
    check_can_be_read_without_eyes,
    check_policy_admits_only_its_style,
    check_reaches_for_nothing,
)


def explained(folder: Path, name: str, wanted: Wanted | None = None) -> tuple[TrainedModel, Explanation]:
    model = model_of(folder, ASKED[name])
    return model, explain(model, case_of(model, name=EVIL), wanted)


@pytest.mark.parametrize(
    "name", ["several labels", "risk", "pixels conv_gru", "pixels rows", "boxes patches"]
)
def test_each_task_has_a_page(tmp_path: Path, name: str) -> None:
    model, found = explained(tmp_path, name)
    html = render(model, [found])
    check_reaches_for_nothing(html)
    check_policy_admits_only_its_style(html)
    check_can_be_read_without_eyes(html)
    page = Page(html)
    assert found.question.words in page.text and found.question.said in page.text
    images = {"risk": 1, "pixels conv_gru": 6}.get(name, 3)
    assert sum(element == "img" for element, _ in page.elements) == images


def test_contributions_add_up_in_every_file(tmp_path: Path) -> None:
    model, found = explained(tmp_path, "risk")
    paths = write_files(tmp_path / "files", model, found, 3)
    assert [path.name for path in paths] == ["0003.png", "0003.json", "0003.csv"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in paths)
    told = json.loads(paths[1].read_text(encoding="utf-8"))
    total = told["log_odds"] - told["log_odds_of_baseline"]
    assert sum(each["adds"] for each in told["variables"]) == pytest.approx(total, abs=0.011)
    assert sum(each["adds"] for each in told["steps"]) == pytest.approx(total, abs=0.011)
    for each in told["variables"]:
        parts = sum(each[f"by_{kind}"] for kind in ("value", "measured", "gap"))
        assert parts == pytest.approx(each["adds"], abs=1e-6)
    with paths[2].open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 4 * 2 and [line["time"] for line in lines[::2]] == ["0", "60", "120", "180"]
    assert sum(float(line["adds"]) for line in lines) == pytest.approx(total, abs=0.011)
    measured = [int(line["measured"]) for line in lines]
    assert measured == found.case.steps[:, 2:4].flatten().int().tolist()


def test_what_was_not_measured_adds_nothing_by_its_value(tmp_path: Path) -> None:
    model, found = explained(tmp_path, "risk")
    parts = Contributions.of(model.study, found)
    assert not parts.measured.all()
    assert float(parts.values[:, :2].transpose(1, 2)[~parts.measured].abs().max()) == 0.0


def test_a_heat_map_names_the_strongest_and_sums_the_others(tmp_path: Path) -> None:
    names = {f"variable {number}": {"centre": 0.0, "scale": 1.0} for number in range(20)}
    model = model_of(tmp_path, {**RISK, "sequence": {"kind": "steps", "variables": names}})
    found = explain(model, case_of(model, 60))
    parts = Contributions.of(model.study, found)
    drawn = heat_map(parts, found)
    strongest = parts.strongest(SHOWN)
    sums = parts.by_place.sum(0).abs()
    assert float(sums[strongest].min()) >= float(np.delete(sums.numpy(), strongest).max())
    colours = {tuple(pixel) for row in drawn.tolist() for pixel in row}
    assert {tuple(int(part) for part in FOR), tuple(int(part) for part in AGAINST)} & colours
    assert drawn.shape[0] > 24 * (SHOWN + 3) and drawn.shape[1] > 420


def test_one_step_and_nothing_in_it_is_drawn(tmp_path: Path) -> None:
    model = model_of(tmp_path, RISK)
    found = explain(model, case_of(model, 1))
    assert drawing_of(model, found).shape[1] >= 260


def test_colours_say_the_direction() -> None:
    assert colour_of(0.0, 1.0) == (255, 255, 255)
    red, blue = colour_of(1.0, 2.0), colour_of(-1.0, 2.0)
    assert red[0] > red[2] and blue[2] > blue[0]
    assert colour_of(9.0, 2.0) == tuple(int(part) for part in FOR)


def test_the_line_is_around_the_pixels_and_not_on_them() -> None:
    region = torch.zeros(2, 8, 8)
    region[1, 2:5, 0:3] = 1
    plain = np.full((8, 8, 3), 50, np.uint8)
    drawn = marked(plain, Place(1, region=region), 1, 32)
    assert drawn.shape == (32, 32, 3)
    assert (drawn[8:20, 0:12] == 50).all()
    line = (drawn == MARK).all(axis=2)
    assert line[7, :13].all() and line[20, :13].all() and line[7:21, 12].all()
    assert line.sum() == 2 * 13 + 12
    assert (marked(plain, Place(1, region=region), 0, 32) == 50).all()


def test_the_frame_stands_in_its_own_picture() -> None:
    box = Box(2, "cyst", 0.9, (0.0, 0.0, 1.0, 1.0), (0.25, 0.25, 0.75, 0.75), 1)
    plain, place = np.zeros((8, 8, 3), np.uint8), Place(1, box=box)
    line = (marked(plain, place, 1, 64) == MARK).all(axis=2)
    assert line[16, 16:48].all() and line[16:48, 47].all() and not line[20:44, 20:44].any()
    assert not marked(plain, place, 0, 64).any()


@pytest.mark.parametrize("name", ["pixels conv_gru", "boxes conv_gru", "boxes patches"])
def test_what_is_explained_is_marked(tmp_path: Path, name: str) -> None:
    model, found = explained(tmp_path, name)
    assert found.question.place is not None
    assert layers_of(model, found).picture == found.question.place.picture
    (path, told) = write_files(tmp_path / "files", model, found, 1)
    with Image.open(path) as image:
        assert MARK in {tuple(pixel) for row in np.asarray(image).tolist() for pixel in row}
    assert ("box" in json.loads(told.read_text(encoding="utf-8"))) == name.startswith("boxes")
