"""What a manifest says of a case lies where the trainer learns it, and is nothing where it says nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.manifest import Row
from client.predicting.truth import Outcome, Truth
from common.errors import TargetInvalid
from common.study import Study, parse_study
from tests.fitting_models import model_for

ROW = Row("a.npy", "elm", "p", "test", "1", 7)


def study_of(task: str, kind: str, **sequence: object) -> Study:
    labels = {"0": "none", "1": "nodule", "2": "mass"}
    if task == "risk":
        labels = {"0": "survived", "1": "died"}
    head = {"name": "x", "task": task, "labels": labels}
    document = {"study": head, "sequence": {"kind": kind, "size": 8, **sequence}}
    return parse_study({**document, "model": model_for(task, kind)})


@pytest.mark.parametrize(
    ("kind", "more"), [("slices", {}), ("rows", {}), ("patches", {"patch": 4, "order": "hilbert"})]
)
def test_a_mask_lies_on_the_grid(tmp_path: Path, kind: str, more: dict[str, object]) -> None:
    mask = np.zeros((1, 16, 16), np.uint8)
    mask[0, 4:8, 12:16], mask[0, 12:, 0:4] = 2, 255
    np.save(tmp_path / "m.npy", mask if kind == "slices" else mask[0])
    truth = Truth(tmp_path, (replace(ROW, mask_path="m.npy"),))
    found = truth.mask(study_of("segmentation", kind, **more), (1, 16, 16))
    wanted = np.zeros((1, 8, 8), np.uint8)
    wanted[0, 2:4, 6:], wanted[0, 6:, :2] = 2, 255
    assert found is not None and np.array_equal(found, wanted)


@pytest.mark.parametrize(("kind", "more"), [("frames", {}), ("patches", {"patch": 4})])
def test_boxes_are_those_of_their_picture(tmp_path: Path, kind: str, more: dict[str, object]) -> None:
    own = "[[1, 4, 8, 8, 16], [2, 0, 0, 4, 4]]"
    truth = Truth(tmp_path, (replace(ROW, boxes=own if kind == "patches" else f"[{own}]"),))
    found = truth.boxes(study_of("detection", kind, **more), (1, 16, 16))
    assert found is not None and len(found) == 1
    assert sorted(found[0]) == [(1, (0.25, 0.5, 0.5, 1.0)), (2, (0.0, 0.0, 0.25, 0.25))]


def test_where_nothing_was_marked_there_is_nothing(tmp_path: Path) -> None:
    truth = Truth(tmp_path, (ROW,))
    assert truth.mask(study_of("segmentation", "slices"), (1, 16, 16)) is None
    assert truth.boxes(study_of("detection", "frames"), (1, 16, 16)) is None


def test_marks_of_other_pictures_are_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.zeros((2, 16, 16), np.uint8))
    truth = Truth(tmp_path, (replace(ROW, mask_path="m.npy"),))
    with pytest.raises(TargetInvalid):
        truth.mask(study_of("segmentation", "slices"), (3, 16, 16))


def test_an_outcome_has_its_time_where_that_is_known(tmp_path: Path) -> None:
    study = study_of("risk", "frames")

    def outcome(label: str, time: str) -> Outcome | None:
        return Truth(tmp_path, (replace(ROW, label=label, time=time),)).outcome(study)

    assert outcome("1", "12.5") == Outcome("died", event=True, time=12.5)
    assert outcome("0", "-1") == outcome("0", "") == Outcome("survived", event=False, time=None)
    assert outcome("not known", "3") is None
