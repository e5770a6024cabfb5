"""DICOM in, DICOM Segmentations out that DCMTK and highdicom read back; volumes where spacing is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from client.exporting.segmentation import by_frame
from deploy.cli.app import app
from tests.conftest import small_study
from tests.integration.exporting.test_objects import dcmtk, told
from tests.unit.cohorts.archives import SHAPE, SPACING_MM, laid, picture, volume
from tests.unit.predicting.finished import CALIBRATION, finished

hd = pytest.importorskip("highdicom")
RUNNER = CliRunner()
__all__ = ["dcmtk"]

STUDY = small_study(
    study={"task": "segmentation", "labels": {"0": "background", "1": "nodule", "2": "mass"}},
    sequence={"kind": "slices", "size": 8, "pixel_spacing_mm": 0.8, "slice_spacing_mm": 2.5},
    model={"cell": "conv_gru"},
)


def test_a_segmentation_of_a_series(tmp_path: Path, dcmtk: None) -> None:
    sources = volume("Anna", slices=4)
    laid(tmp_path / "in", reversed(sources))
    (tmp_path / "run").mkdir()
    run, seg, masks = finished(tmp_path / "run", STUDY), tmp_path / "seg", tmp_path / "masks"
    given = ["predict", str(run), str(tmp_path / "in"), "--json"]
    done = RUNNER.invoke(app, [*given, "--dicom-seg", str(seg), "--masks", str(masks)])
    assert done.exit_code == 0, done.output
    (case,) = json.loads(done.stdout)["cases"]
    assert case["shape"] == [4, *SHAPE] and case["steps"] == 4  # 8 mm are 4 steps of 2.5 mm
    with np.load(masks / "0001.npz") as file:
        mask = file["mask"]
    assert mask.any()
    for value, name in ((1, "nodule"), (2, "mass")):
        own, said = int((mask == value).sum()), case["classes"][name]
        assert said["millilitres"] == pytest.approx(own * 2.0 * np.prod(SPACING_MM) / 1000)
        assert sum(said["square_millimetres_by_picture"]) == pytest.approx(own * np.prod(SPACING_MM))
    assert "=SegmentationStorage" in told("dcmdump", seg / "0001.dcm")
    read = hd.seg.segread(seg / "0001.dcm")
    names = [read.get_segment_description(n).segment_label for n in read.segment_numbers]
    found = read.get_pixels_by_source_instance(case["sop_instance_uids"])
    for place, name in enumerate(names):
        value = ("background", "nodule", "mass").index(name)
        assert np.array_equal(found[..., place].astype(bool), mask == value)
    assert dcmread(seg / "0001.dcm").PatientID == sources[0].PatientID


def test_a_picture_without_a_place_has_no_segmentation(tmp_path: Path) -> None:
    laid(tmp_path / "in", [picture("Anna")])
    study = small_study(
        study={"task": "segmentation", "labels": {"0": "background", "1": "nodule"}},
        sequence={"kind": "rows", "size": 8},
    )
    (tmp_path / "run").mkdir()
    run = finished(tmp_path / "run", study, seed=3)
    done = RUNNER.invoke(
        app, ["predict", str(run), str(tmp_path / "in"), "--dicom-seg", str(tmp_path / "seg")]
    )
    assert done.exit_code == 4 and "IM0000: input-other-kind" in done.stderr
    assert "nodule" in done.stdout and not (tmp_path / "seg").exists()


def test_frames_go_where_they_were() -> None:
    mask = np.arange(1, 4, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    assert by_frame(mask, (3, 0, 2), 5)[:, 0, 0].tolist() == [2, 0, 3, 1, 0]


def test_a_report_of_several_labels(tmp_path: Path, dcmtk: None) -> None:
    laid(tmp_path / "in", [picture("Anna")])
    study = small_study(study={"several_labels": True})
    calibration = {**CALIBRATION, "form": "labels", "temperature": [1.0, 1.0], "threshold": [0.0, 0.0]}
    (tmp_path / "run").mkdir()
    run = finished(tmp_path / "run", study, calibration=calibration)
    done = RUNNER.invoke(app, ["predict", str(run), str(tmp_path / "in"), "--dicom-sr", str(tmp_path / "sr")])
    assert done.exit_code == 0, done.output
    text = told("dsrdump", tmp_path / "sr" / "0001.dcm")
    assert text.count('(%,UCUM,"percent")') == 2
    assert text.count('"Class called")') == 2  # both are
