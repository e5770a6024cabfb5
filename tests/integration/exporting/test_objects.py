"""Structured Reports and segmentations that DCMTK and highdicom read back."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from client.exporting.report import write_report
from client.exporting.segmentation import segmentation_of
from client.exporting.sources import source_datasets
from client.predicting import Given, Refused, predicted, read_inputs
from common.errors import InputOtherKind, TaskNotServed
from tests.conftest import small_study
from tests.unit.cohorts.archives import laid, picture, volume
from tests.unit.predicting.finished import CALIBRATION, opened

hd = pytest.importorskip("highdicom")
NAMES = {1: "right ventricle", 3: "left ventricle"}


@pytest.fixture(scope="module")
def dcmtk() -> None:
    """Skips where DCMTK is not installed."""
    missing = [tool for tool in ("dsrdump", "dcmdump") if shutil.which(tool) is None]
    if missing and os.environ.get("CONSILIUM_REQUIRE_PARTS") == "1":
        pytest.fail(f"DCMTK is asked for and not there: {', '.join(missing)}")
    if missing:
        pytest.skip(f"needs DCMTK (Debian: dcmtk): {', '.join(missing)} not found")


def told(tool: str, path: Path) -> str:
    """What a program of DCMTK prints of a file, warnings too."""
    done = subprocess.run([tool, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "E: " not in done.stderr
    return done.stdout + done.stderr


def report_of_one(folder: Path) -> tuple[Path, Dataset]:
    dataset = picture("Anna")
    laid(folder / "in", [dataset])
    model = opened(folder, small_study(), calibration=CALIBRATION)
    (found,) = predicted(model, read_inputs([folder / "in"], model.study))
    assert not isinstance(found, Refused)
    return write_report(folder / "sr", model, found.case, found.answer, 1), dataset


def test_dcmtk_reads_the_report(tmp_path: Path, dcmtk: None) -> None:
    path, _ = report_of_one(tmp_path)
    text = told("dsrdump", path)
    assert "Comprehensive SR Document" in text and "Verification Flag   : UNVERIFIED" in text
    assert '"Probability of normal"' in text and '"Probability of abnormal"' in text
    assert text.count('(%,UCUM,"percent")') == 2
    assert '"Algorithm Name")="tiny"' in text


def test_highdicom_reads_the_report(tmp_path: Path) -> None:
    path, dataset = report_of_one(tmp_path)
    read = hd.sr.srread(path)
    (group,) = read.content.get_image_measurement_groups()
    values = [measurement.value for measurement in group.get_measurements()]
    assert sum(values) == pytest.approx(100, abs=0.02)
    (source,) = group.source_images
    assert source.referenced_sop_instance_uid == dataset.SOPInstanceUID
    assert read.PatientID == dataset.PatientID and read.StudyInstanceUID == dataset.StudyInstanceUID
    evaluations = group.get_qualitative_evaluations()
    assert evaluations[-1].value.meaning in ("normal", "abnormal")
    codes = [measurement.name.value for measurement in group.get_measurements()]
    assert len(set(codes)) == 2 and all(len(code) <= 16 for code in codes)


def test_only_answers_of_their_kind_are_reported(tmp_path: Path) -> None:
    model = opened(tmp_path, small_study())
    with pytest.raises(TaskNotServed):
        write_report(
            tmp_path,
            model,
            Given("x", None),
            Refused("x", "a", "b", "c"),
            1,  # type: ignore[arg-type]
        )


def stack(folder: Path) -> list[Dataset]:
    laid(folder, volume("Anna", slices=3))
    return source_datasets([str(path) for path in sorted(folder.iterdir())])


def mask_of(sources: list[Dataset]) -> np.ndarray:
    mask = np.zeros((3, sources[0].Rows, sources[0].Columns), np.uint8)
    mask[0, 1:3, 1:4] = 1
    mask[1, 2:5, 2:6] = 3
    return mask


def test_both_read_the_segmentation(tmp_path: Path, dcmtk: None) -> None:
    sources = stack(tmp_path / "in")
    mask = mask_of(sources)
    segmentation_of(mask, NAMES, sources, opened(tmp_path, small_study())).save_as(tmp_path / "seg.dcm")
    text = told("dcmdump", tmp_path / "seg.dcm")
    assert "=SegmentationStorage" in text and "[left ventricle]" in text and "[AUTOMATIC]" in text
    read = hd.seg.segread(tmp_path / "seg.dcm")
    found = read.get_pixels_by_source_instance(
        [str(d.SOPInstanceUID) for d in sources], combine_segments=True
    )
    # Segments are numbered without gaps: 1 is class 1, 2 is class 3.
    assert np.array_equal(np.where(found == 2, 3, found), mask)
    assert dcmread(tmp_path / "seg.dcm").PatientID == sources[0].PatientID


def test_masks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    sources, model = stack(tmp_path / "in"), opened(tmp_path, small_study())
    mask = mask_of(sources)
    for wrong, names in ((mask[:2], NAMES), (mask[:, 1:], NAMES), (mask * 0, NAMES), (mask, {1: "one"})):
        with pytest.raises(InputOtherKind):
            segmentation_of(wrong, names, sources, model)
