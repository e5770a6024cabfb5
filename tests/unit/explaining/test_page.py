"""The page is whole, safe and says what its checks found; overlays are pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from client.explaining import Wanted, explain, render, write_overlay
from client.explaining.pictures import overlaid, sheet
from client.predicting import Given, Refused
from common.errors import InputBlank, TaskNotServed
from tests.conftest import small_study
from tests.unit.page_reader import (
    EVIL,
    Page,
    check_can_be_read_without_eyes,
    check_policy_admits_only_its_style,
    check_reaches_for_nothing,
)
from tests.unit.predicting.finished import opened

RECORDS = {"kind": "steps", "variables": {"HR": {"centre": 0.0, "scale": 1.0}}}


def case(count: int, width: int, name: str = EVIL) -> Given:
    return Given(name, torch.randn(count, width, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    ("sequence", "shape", "images"),
    [
        ({"kind": "rows", "size": 8}, (8, 8), 3),
        ({"kind": "patches", "size": 8, "patch": 4}, (4, 16), 3),
        ({"kind": "slices", "size": 8}, (3, 64), 3),
        ({"kind": "frames", "size": 8}, (5, 64), 3),
        (RECORDS, (6, 3), 1),
        ({**RECORDS, "categories": {"pain": [1, 4]}}, (6, 9), 1),
    ],
)
def test_every_kind_of_sequence_has_a_page(
    tmp_path: Path, sequence: dict[str, Any], shape: tuple[int, int], images: int
) -> None:
    model = opened(tmp_path, small_study(sequence=sequence, model={"pooling": "attention"}))
    found = explain(model, case(*shape))
    html = render(model, [found], [Refused.of("other.png", InputBlank())])
    check_reaches_for_nothing(html)
    check_policy_admits_only_its_style(html)
    check_can_be_read_without_eyes(html)
    page = Page(html)
    assert sum(name == "img" for name, _ in page.elements) == images
    assert "stays in the hospital" in page.text and "input-blank" in page.text
    assert f"called {found.question.answer.decision}" in page.text.lower()
    assert any("Rank correlation with fresh weights: everything" in row[0] for t in page.tables for row in t)


def test_a_category_is_named_with_its_number(tmp_path: Path) -> None:
    model = opened(tmp_path, small_study(sequence={**RECORDS, "categories": {"pain": [1, 4]}}))
    page = Page(render(model, [explain(model, case(6, 9))], []))
    assert {"HR", "pain = 1", "pain = 4"} <= {row[0] for table in page.tables for row in table}


def test_a_class_can_be_chosen(tmp_path: Path) -> None:
    model = opened(tmp_path, small_study())
    one, other = (explain(model, case(8, 8), Wanted(name)) for name in ("normal", "abnormal"))
    assert one.attribution.evidence == pytest.approx(-other.attribution.evidence, abs=1e-5)
    with pytest.raises(TaskNotServed):
        explain(model, case(8, 8), Wanted("unheard of"))


def test_red_speaks_for_and_blue_against() -> None:
    found = overlaid(np.full((2, 2), 100, np.uint8), torch.tensor([[1.0, -1.0], [0.0, 0.5]]), 1.0).astype(int)
    assert found[0, 0, 0] > found[0, 0, 2] and found[0, 1, 2] > found[0, 1, 0]
    assert found[1, 0].tolist() == [100, 100, 100]
    assert abs(found[1, 1] - 100).sum() < abs(found[0, 0] - 100).sum()


def test_an_overlay_is_written_for_each_picture(tmp_path: Path) -> None:
    model = opened(tmp_path, small_study(sequence={"kind": "frames", "size": 8}))
    path = write_overlay(tmp_path / "o", model, case(3, 64), "normal", 7)
    assert path.name == "0007.png"
    with Image.open(path) as image:
        assert image.mode == "RGB" and image.width > image.height
    records = opened(tmp_path, small_study(sequence=RECORDS))
    with pytest.raises(TaskNotServed):
        write_overlay(tmp_path / "o", records, case(6, 3), "normal", 1)


def test_a_sheet_holds_all_pictures() -> None:
    pictures = [np.full((4, 4, 3), value, np.uint8) for value in range(1, 11)]
    whole = sheet(pictures)
    assert {int(value) for value in np.unique(whole)} == set(range(11))
