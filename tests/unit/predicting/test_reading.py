"""Files become cases as training made them; what is unlike the contract is refused with a code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from client.dicom.decoding import decode
from client.images import read_image
from client.manifest import Row, write_manifest
from client.predicting import Given, Refused, read_inputs
from client.sources import ManifestSource
from client.sources.record_file import write_records
from client.tensors import Pictures, picture_steps
from common.errors import NothingFound
from common.study import Study
from tests.conftest import small_study
from tests.unit.cohorts.archives import laid, picture, slice_at

NOISE = np.random.default_rng(0)


def png(path: Path, shape: tuple[int, int] = (16, 16), low: int = 0) -> Path:
    Image.fromarray(NOISE.integers(low, 255, shape, dtype=np.uint8)).save(path)
    return path


def given(path: Path, study: Study) -> Given:
    (case,) = read_inputs([path], study)
    assert isinstance(case, Given), case
    return case


def refused(path: Path, study: Study) -> str:
    (case,) = read_inputs([path], study)
    assert isinstance(case, Refused), case
    return case.code


def test_a_picture_goes_the_way_of_a_manifest(tmp_path: Path) -> None:
    study, path = small_study(), png(tmp_path / "a.png")
    rows = [Row("a.png", "site", "patient", "train", "0", 1)]
    write_manifest(tmp_path / "m.csv", rows)
    source = ManifestSource(tmp_path / "m.csv", "site")
    trained = source.tensors(source.entries(study), study, torch.device("cpu"))
    assert torch.equal(given(path, study).steps, trained.steps[0])
    (of_manifest,) = read_inputs([tmp_path / "m.csv"], study)
    assert isinstance(of_manifest, Given) and of_manifest.name == "a.png"
    assert torch.equal(of_manifest.steps, trained.steps[0])


def test_a_dicom_file_goes_the_way_of_a_cohort(tmp_path: Path) -> None:
    dataset = picture("Anna")
    laid(tmp_path, [dataset])
    case = given(tmp_path / "IM0000", small_study())
    pixels = decode(dataset)
    expected = picture_steps(
        Pictures(pixels.frames, pixels.display, None, ""), small_study(), torch.device("cpu")
    )
    assert torch.equal(case.steps, expected)
    assert case.uids == (dataset.SOPInstanceUID,)
    assert "Anna" not in repr((case.name, case.uids, case.remarks))


def test_a_series_is_one_case_in_its_order(tmp_path: Path) -> None:
    places = (10.0, 0.0, 5.0)
    slices = [slice_at(z, "Anna") for z in places]
    laid(tmp_path, slices)
    case = given(tmp_path, small_study(sequence={"kind": "slices", "size": 8}))
    assert len(case.steps) == 3 and case.name.endswith("and 2 more")
    ordered = [s.SOPInstanceUID for _, s in sorted(zip(places, slices, strict=True), key=lambda p: p[0])]
    assert case.uids in (tuple(ordered), tuple(reversed(ordered)))


def test_a_clip_is_read_from_npz(tmp_path: Path) -> None:
    frames = NOISE.integers(0, 255, (5, 12, 12), dtype=np.uint8)
    np.savez(tmp_path / "clip.npz", frames=frames, other=np.zeros(3))
    case = given(tmp_path / "clip.npz", small_study(sequence={"kind": "frames", "size": 8}))
    assert case.steps.shape == (5, 64)
    assert float(case.steps.mean()) == pytest.approx(0, abs=1e-5)


def test_records_are_named_by_their_place(tmp_path: Path) -> None:
    lines = ["patient,time,variable,value", "Anna,0,HR,80", "Anna,60,HR,90", "Bert,0,HR,70"]
    (tmp_path / "r.csv").write_text("\n".join(lines))
    sequence = {"kind": "steps", "variables": {"HR": {"centre": 80.0, "scale": 10.0}}}
    cases = list(read_inputs([tmp_path / "r.csv"], small_study(sequence=sequence)))
    assert [case.name for case in cases] == ["r.csv case 1", "r.csv case 2"]
    assert isinstance(cases[0], Given) and cases[0].steps[:, 0].tolist() == [0.0, 1.0]


def test_categories_of_a_record_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("patient_id,age,pain,num\nAnna,80,4,1\nBert,70,?,0\n")
    variables = {"age": {"centre": 80.0, "scale": 10.0}}
    sequence = {"kind": "steps", "variables": variables, "categories": {"pain": [1, 4]}}
    cases = list(read_inputs([tmp_path / "r.csv"], small_study(sequence=sequence)))
    assert [case.steps[0, :6].tolist() for case in cases if isinstance(case, Given)] == [
        [0.0, 0.0, 1.0, 1.0, 1.0, 1.0],
        [-1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
    ]


def manifest_of(folder: Path, rows: list[Row]) -> Path:
    write_manifest(folder / "m.csv", rows)
    return folder / "m.csv"


def test_clips_of_a_manifest_are_read_as_in_training(tmp_path: Path) -> None:
    study = small_study(sequence={"kind": "frames", "size": 8})
    np.savez(tmp_path / "c.npz", one=NOISE.integers(0, 255, (5, 12, 10), dtype=np.uint8), two=np.zeros(3))
    path = manifest_of(tmp_path, [Row("c.npz#one", "site", "patient", "train", "0", 1)])
    source = ManifestSource(path, "site")
    trained = source.tensors(source.entries(study), study, torch.device("cpu"))
    case = given(path, study)
    assert torch.equal(case.steps, trained.steps[0])
    assert case.layout is not None and case.layout.shape == (5, 12, 10)


def test_views_of_a_patient_are_one_case_in_their_order(tmp_path: Path) -> None:
    study = small_study(sequence={"kind": "views", "size": 8})
    for name in ("a.png", "b.png", "c.png"):
        png(tmp_path / name, (12, 10) if name == "c.png" else (10, 12))
    places = (("a.png", "Anna", "lateral"), ("b.png", "Anna", "frontal"), ("c.png", "Bert", ""))
    rows = [Row(path, "site", who, "train", "0", n, view=view) for n, (path, who, view) in enumerate(places)]
    cases = list(read_inputs([manifest_of(tmp_path, rows)], study))
    assert [case.name for case in cases] == ["b.png and 1 more", "c.png"]
    source = ManifestSource(tmp_path / "m.csv", "site")
    trained = source.tensors(source.entries(study), study, torch.device("cpu"))
    for case, steps, length in zip(cases, trained.steps, trained.lengths, strict=True):
        assert isinstance(case, Given) and torch.equal(case.steps, steps[:length])


def test_steps_of_records_know_their_times(tmp_path: Path) -> None:
    lines = ["patient,time,variable,value", "Anna,5,HR,80", "Anna,65,HR,90", "Anna,200,HR,90"]
    (tmp_path / "r.csv").write_text("\n".join(lines))
    sequence = {"kind": "steps", "variables": {"HR": {"centre": 80.0, "scale": 10.0}}, "time_scale": 60.0}
    assert given(tmp_path / "r.csv", small_study(sequence=sequence)).times == (5.0, 65.0, 200.0)
    gridded = given(tmp_path / "r.csv", small_study(sequence={**sequence, "every": 60.0}))
    assert gridded.times == (5.0, 65.0, 125.0, 185.0)


def test_a_broken_file_of_records_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", table=np.zeros((2, 2)), ends=np.array([5]), variables=np.array(["HR"]))
    sequence = {"kind": "steps", "variables": {"HR": {"centre": 80.0, "scale": 10.0}}}
    assert refused(tmp_path / "r.npz", small_study(sequence=sequence)) == "records-invalid"


REFUSALS: list[tuple[str, dict[str, Any]]] = [
    ("input-too-small", {"sequence": {"kind": "rows", "size": 64}}),
    ("input-without-spacing", {"sequence": {"kind": "rows", "size": 8, "pixel_spacing_mm": 1.0}}),
    ("input-without-spacing", {"data": {"window": {"centre": 40.0, "width": 400.0}}}),
    ("input-other-kind", {"sequence": {"kind": "frames", "size": 8}}),
    ("input-other-kind", {"sequence": {"kind": "steps", "variables": {"x": {"centre": 0.0, "scale": 1.0}}}}),
]


@pytest.mark.parametrize(("code", "sections"), REFUSALS)
def test_a_picture_unlike_the_contract_is_refused(
    tmp_path: Path, code: str, sections: dict[str, Any]
) -> None:
    assert refused(png(tmp_path / "a.png"), small_study(**sections)) == code


def test_other_refusals(tmp_path: Path) -> None:
    Image.fromarray(np.full((16, 16), 7, np.uint8)).save(tmp_path / "flat.png")
    assert refused(tmp_path / "flat.png", small_study()) == "input-blank"
    np.save(tmp_path / "clip.npy", NOISE.integers(0, 255, (5, 16, 16), dtype=np.uint8))
    assert refused(tmp_path / "clip.npy", small_study()) == "input-many-frames"
    (tmp_path / "text.txt").write_text("no picture")
    assert refused(tmp_path / "text.txt", small_study()) == "not-dicom"
    (tmp_path / "scan.nii.gz").write_bytes(b"no DICOM either")
    assert refused(tmp_path / "scan.nii.gz", small_study()) == "input-other-kind"
    assert refused(tmp_path / "absent.png", small_study()) == "image-missing"
    laid(tmp_path / "d", [picture("Anna")])
    assert (
        refused(tmp_path / "d" / "IM0000", small_study(data={"modality": ["US"]})) == "image-wrong-modality"
    )


def test_records_and_pictures_are_told_apart(tmp_path: Path) -> None:
    record = np.array([0.0, 60.0]), np.ones((2, 1), np.float32)
    write_records(tmp_path / "r.npz", ["x"], [record])
    np.save(tmp_path / "a.npy", NOISE.integers(0, 255, (16, 16), dtype=np.uint8))
    steps = {"kind": "steps", "variables": {"x": {"centre": 0.0, "scale": 1.0}}}
    for name, sequence in (("r.npz#0", {"kind": "rows", "size": 8}), ("a.npy", steps)):
        write_manifest(tmp_path / "m.csv", [Row(name, "site", "patient", "train", "0", 1)])
        assert refused(tmp_path / "m.csv", small_study(sequence=sequence)) == "input-other-kind"
    assert refused(tmp_path / "r.npz", small_study()) == "input-other-kind"


def test_one_refusal_does_not_stop_the_others(tmp_path: Path) -> None:
    Image.fromarray(np.full((16, 16), 7, np.uint8)).save(tmp_path / "a.png")
    png(tmp_path / "b.png")
    kinds = [type(case) for case in read_inputs([tmp_path], small_study())]
    assert kinds == [Refused, Given]


def test_nothing_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NothingFound):
        list(read_inputs([tmp_path], small_study()))


def test_what_is_unusual_is_remarked(tmp_path: Path) -> None:
    Image.fromarray(np.repeat([[0] * 40, [255] * 40], 8, axis=0).astype(np.uint8)).save(tmp_path / "a.png")
    assert given(tmp_path / "a.png", small_study()).remarks == ("elongated", "few-shades")
    assert given(png(tmp_path / "b.png"), small_study()).remarks == ()
    assert read_image(tmp_path / "b.png").modality is None
