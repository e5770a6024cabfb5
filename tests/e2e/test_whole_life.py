"""The whole life of a model: from the archives of two hospitals to a report at a third, with its evidence.

A second model, of one hospital's CT stacks out of the same archive, says where lesions are: its DICOM
Segmentations are read back as the reports are.

Every step is a command as a person types it, and every part is a process of its own: an archive (Orthanc), a
coordinator, two hospitals. What the third hospital gets is the model's file and copies of the audit logs.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.predicting import open_model
from tests.e2e.life import BUDGET, COST, SITES, STACK_STUDY, STACKS, TITLE, Life, lived
from tests.e2e.pacs.conftest import program
from tests.e2e.stacks import Stack, write_stack

pytestmark = pytest.mark.slow  # two minutes of real processes

NOT_IN_EVIDENCE = 7
UIDS = ("StudyInstanceUID", "FrameOfReferenceUID")
"""What a segmentation shares with the pictures that it is of."""


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    """One life, lived to its end."""
    return lived(tmp_path_factory.mktemp("life"))


@pytest.fixture(scope="module")
def predicted(life: Life) -> dict[str, Any]:
    """What the model says of two patients of the third hospital, with a report of each."""
    given = [f"cedar/pictures/cedar-000{number}/1.dcm" for number in (1, 2)]
    evidence = ("--evidence", "cedar/evidence", "--dicom-sr", "cedar/reports")
    return life.told("predict", "cedar/model.safetensors", *given, *evidence)


def test_the_model_is_the_one_that_the_evidence_names(life: Life, predicted: dict[str, Any]) -> None:
    run = json.loads((life.run / "run.json").read_text())
    assert run["status"] == "completed" and len(run["rounds"]) == 2
    assert set(run["sites"]) == set(SITES) and run["final"]["pooled"] is not None
    assert predicted["evidence"]["weights"] == predicted["model"]["digest"] == run["final"]["model_digest"]
    assert predicted["evidence"]["study"] == TITLE
    assert {Path(log).name for log in predicted["evidence"]["tested_by"]} == set(SITES)


def test_logs_of_all_sides_agree_and_name_the_model(life: Life) -> None:
    checked = life.told("audit", "verify", "cedar/evidence", "--model", "cedar/model.safetensors")
    assert checked["whole"] and {log["owner"] for log in checked["logs"]} == {"coordinator", *SITES}
    assert not any(log["remarks"] for log in checked["logs"])
    assert len(checked["agreed"]) == 4 and all(pair["heads"] > 0 for pair in checked["agreed"])
    assert checked["model"]["study"] == TITLE
    by_hand = life.said("audit", "verify", *("coordinator", *SITES), "--model", life.run)
    assert by_hand.count(": whole") == 3 and f"model: study {TITLE}" in by_hand


def test_a_model_of_which_one_byte_is_another_is_not_used(life: Life, tmp_path: Path) -> None:
    content = bytearray((life.elsewhere / "model.safetensors").read_bytes())
    content[-1] ^= 1
    changed = tmp_path / "model.safetensors"
    changed.write_bytes(content)
    picture, evidence = "cedar/pictures/cedar-0001/1.dcm", ("--evidence", "cedar/evidence")
    assert open_model(changed).study.study.name == TITLE  # nothing else of it is odd
    refused = life.told("predict", changed, picture, *evidence, status=NOT_IN_EVIDENCE)
    assert refused["error"]["code"] == "model-not-in-evidence"
    refused = life.told("audit", "verify", "cedar/evidence", "--model", changed, status=NOT_IN_EVIDENCE)
    assert refused["error"]["code"] == "model-not-in-evidence"


def test_reports_are_read_back_by_other_programs(life: Life, predicted: dict[str, Any]) -> None:
    import highdicom
    from pydicom import dcmread

    reports = sorted((life.elsewhere / "reports").glob("*.dcm"))
    assert len(reports) == len(predicted["cases"]) == 2
    for path, case in zip(reports, predicted["cases"], strict=True):
        dump = subprocess.run(
            [program("dsrdump"), "+Pl", str(path)], capture_output=True, text=True, timeout=30, check=False
        )
        assert dump.returncode == 0 and "Imaging Measurement Report" in dump.stdout, dump.stderr
        assert predicted["model"]["digest"] in dump.stdout
        assert f'"{case["decision"]}"' in dump.stdout
        report = highdicom.sr.srread(path)
        source = dcmread(life.folder / case["input"], stop_before_pixels=True)
        assert report.PatientID == source.PatientID
        (group,) = report.content.get_image_measurement_groups()
        percents = {one.name.meaning: one.value for one in group.get_measurements()}
        said = {f"Probability of {name}": value for name, value in case["probabilities"].items()}
        assert percents == pytest.approx({name: 100 * value for name, value in said.items()}, abs=0.006)


@pytest.fixture(scope="module")
def stack(life: Life) -> Stack:
    """A patient of the third hospital, of whom no model has seen anything."""
    return write_stack(life.elsewhere / "stacks", "cedar-0001", 4711)


@pytest.fixture(scope="module")
def segmented(life: Life, stack: Stack) -> dict[str, Any]:
    """What a model of the stacks says of that patient, with a DICOM Segmentation and the mask itself."""
    (life.folder / "stacks.toml").write_text(STACK_STUDY)
    cohort = ("--cohort", f"alder={STACKS}", "--home", "alder", "--device", "cpu")
    run = life.told("simulate", "stacks.toml", *cohort, "--out", "stacks-run")
    assert run["status"] == "completed"
    wanted = ("--dicom-seg", "cedar/segments", "--masks", "cedar/masks")
    (case,) = life.told("predict", "stacks-run", stack.folder, *wanted)["cases"]
    return dict(case)


def test_a_segmentation_is_where_the_lesion_is(life: Life, stack: Stack, segmented: dict[str, Any]) -> None:
    import highdicom

    with np.load(life.elsewhere / "masks" / "0001.npz") as file:
        mask = file["mask"]
    both = int((mask & stack.truth).sum())
    assert 2 * both / (int(mask.sum()) + int(stack.truth.sum())) > 0.7  # of nothing or all: 0, or below 0.2
    read = highdicom.seg.segread(life.elsewhere / "segments" / "0001.dcm")
    assert [read.get_segment_description(n).segment_label for n in read.segment_numbers] == ["lesion"]
    found = read.get_pixels_by_source_instance(segmented["sop_instance_uids"])[..., 0]
    assert np.array_equal(found, mask)


def test_a_segmentation_names_the_pictures_that_it_is_of(
    life: Life, stack: Stack, segmented: dict[str, Any]
) -> None:
    from pydicom import dcmread

    sources = [dcmread(path, stop_before_pixels=True) for path in sorted(stack.folder.iterdir())]
    place = life.elsewhere / "segments" / "0001.dcm"
    shown = subprocess.run(
        [program("dcmdump"), "+L", str(place)], capture_output=True, text=True, timeout=30, check=False
    )
    assert shown.returncode == 0 and "E: " not in shown.stderr, shown.stderr
    lines = shown.stdout.splitlines()
    assert any("SOPClassUID" in line and "=SegmentationStorage" in line for line in lines)
    said = {key: {line for line in lines if f" {key}" in line} for key in (*UIDS, "ReferencedSOPInstanceUID")}
    for source in sources:
        assert any(f"[{source.SOPInstanceUID}]" in line for line in said["ReferencedSOPInstanceUID"])
        assert source.SOPInstanceUID in segmented["sop_instance_uids"]
    for key in UIDS:
        assert all(f"[{sources[0][key].value}]" in line for line in said[key]) and said[key]
    patient = [line for line in lines if line.startswith("(0010,0020)")]
    assert len(patient) == 1 and f"[{stack.patient}]" in patient[0]


def test_ledgers_say_what_was_spent(life: Life) -> None:
    for said in life.at_each("site", "ledger", "show", "chest", "--json"):
        spent = json.loads(said)
        assert 0 < spent["epsilon"] <= COST + 1e-6 < BUDGET == spent["budget"]["epsilon"]
        assert [study["study"] for study in spent["studies"]] == [TITLE]
    life.at_each("site", "ledger", "verify", "chest")
    told = json.loads((life.run / "run.json").read_text())["rounds"][-1]["training"]
    assert all(0 < told[site]["epsilon"] <= COST + 1e-6 for site in SITES)


def test_no_patient_is_in_what_left_the_hospitals(life: Life) -> None:
    places = [life.folder / "coordinator", life.elsewhere / "evidence", life.elsewhere / "model.safetensors"]
    files = [path for place in places for path in (place, *place.rglob("*")) if path.is_file()]
    assert len(files) > 10
    for path in files:
        content = path.read_bytes()
        for site in SITES:
            assert f"{site}-00".encode() not in content and f"PHANTOM^{site.upper()}".encode() not in content
