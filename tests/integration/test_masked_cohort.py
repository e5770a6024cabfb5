"""A cohort with masks serves segmentation and detection: the mask lies where the study looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from client.cases import decode, labels, site_cases
from client.cohorts.home import Home
from client.cohorts.rules import Rules
from client.sources import CohortSource
from common.errors import CohortEmpty
from common.study import Study, parse_study
from tests.fitting_models import model_for
from tests.unit.cohorts.archives import laid, taken, volume

SLICES = Rules("slices", test_share=0.0)
CPU = torch.device("cpu")


def study_of(task: str, **sequence: Any) -> Study:
    names = {"1": "kidney", "2": "cyst"}
    head = {
        "name": "x",
        "task": task,
        "labels": {"0": "ground", **names} if task == "segmentation" else names,
    }
    document = {"study": head, "sequence": {"kind": "slices", "size": 8, **sequence}}
    return parse_study({**document, "data": {"min_test_cases": 0}, "model": model_for(task, "slices")})


@pytest.fixture
def source(home: Home, tmp_path: Path) -> CohortSource:
    """Two patients' stacks without labels, of 3 slices of 6 x 8 pixels; Anna's has a mask."""
    archive = laid(tmp_path / "in", [*volume("Anna"), *volume("Bert")])
    masks = tmp_path / "masks"
    masks.mkdir()
    drawn = np.zeros((8, 6, 3), np.uint8)
    drawn[1:4, 2, 0], drawn[3, 4, 2] = 1, 2
    affine = np.array([[-0.75, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 2.0, 0], [0, 0, 0, 1]])
    image: Any = nibabel.Nifti1Image(drawn, affine)  # type: ignore[no-untyped-call]
    image.set_sform(affine, code=1)
    nibabel.save(image, masks / "Anna.nii.gz")
    taken(home, archive, rules=SLICES, masks=(masks,))
    return CohortSource(home.folder, "c")


def test_pixels_are_labelled_where_the_mask_says(source: CohortSource) -> None:
    study = study_of("segmentation", pixel_spacing_mm=0.75)
    cases = site_cases(source.entries(study), "c", study)
    assert len(cases.train) == 1, "a case without a mask teaches nothing"
    batch = decode(source, cases.train, study, CPU)
    assert batch.targets.shape == batch.steps.shape == (1, 3, 64)
    pixels = batch.targets[0].reshape(3, 8, 8)
    assert (pixels[:, :2] == 255).all() and (pixels[:, 6:] == 255).all(), "beyond the picture"
    assert labels(cases.train, study, source) == (1, 1, 1)
    assert set(pixels[0].unique().tolist()) == {0, 1, 255}
    columns = (pixels[0] == 1).nonzero()[:, 1].unique().tolist()
    assert columns == [1, 2, 3]


def test_boxes_are_drawn_around_what_the_mask_says(source: CohortSource) -> None:
    study = study_of("detection")
    cases = site_cases(source.entries(study), "c", study)
    found = decode(source, cases.train, study, CPU).targets
    assert found.shape == (1, 3, 8, 5)
    seen = [(step, int(box[0])) for step in range(3) for box in found[0, step].tolist() if box[0] >= 0]
    assert seen == [(0, 0), (2, 1)]
    assert found[0, 0, 0, [2, 4]].tolist() == [1 / 8, 4 / 8]


def test_a_cohort_without_masks_cannot_serve(home: Home, tmp_path: Path) -> None:
    taken(home, laid(tmp_path / "in", volume("Anna")), rules=SLICES)
    with pytest.raises(CohortEmpty, match="has a mask"):
        CohortSource(home.folder, "c").entries(study_of("segmentation"))
