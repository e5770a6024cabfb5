"""A manifest serves clips, stacks, views of a patient and records beside single pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage

from client.cases import decode, labels, site_cases
from client.sources import ManifestSource
from client.sources.record_file import write_records
from common.errors import (
    CaseTooWide,
    CohortUnsuitable,
    ImageUnreadable,
    ManifestInvalid,
    RecordsInvalid,
    WrongModality,
)
from common.sequences import SequenceBatch
from common.study import Study
from tests.unit.sources.conftest import Save, Written

CPU = torch.device("cpu")
FRAMES = {"kind": "frames", "size": 8}
VIEWS = {"kind": "views", "size": 8}
AnyStudy = Callable[..., Study]


def pictures(count: int, size: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (count, size, size), dtype=np.uint8)


def decoded(path: Path, study: Study) -> SequenceBatch:
    source = ManifestSource(path, "elm")
    entries = source.entries(study)
    batch = decode(source, entries, study, CPU)
    whole = 4 * batch.steps.shape[1] * batch.steps.shape[2] * len(entries)
    assert source.size_bytes(entries, study) == whole, "what the cache reckons with"
    return batch


def test_clips_of_different_length_become_one_batch(
    any_study: AnyStudy, save: Save, manifest: Written
) -> None:
    clips = [pictures(3), pictures(5, seed=1)]
    path = manifest([{"path": save(f"{n}.npz", clip), "label": str(n)} for n, clip in enumerate(clips)])
    batch = decoded(path, any_study(sequence=FRAMES))
    assert batch.steps.shape == (2, 5, 64) and batch.lengths.tolist() == [3, 5]
    assert batch.targets.tolist() == [0, 1]
    shown = clips[1].reshape(5, 64) / 255.0
    assert np.allclose(batch.steps[1], (shown - shown.mean()) / shown.std(), atol=1e-5)
    assert (batch.steps[0, 3:] == 0).all()


@pytest.mark.parametrize("kind", ["frames", "slices"])
@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.npz#frames"])
def test_a_stack_is_an_array_of_a_file(
    any_study: AnyStudy, save: Save, manifest: Written, kind: str, name: str
) -> None:
    save(name.partition("#")[0], pictures(4))
    batch = decoded(manifest([{"path": name}]), any_study(sequence={"kind": kind, "size": 8}))
    assert batch.lengths.tolist() == [4]


def test_a_row_of_an_array_of_stacks_is_a_stack(any_study: AnyStudy, save: Save, manifest: Written) -> None:
    save("all.npy", np.stack([pictures(4), pictures(4, seed=1)]))
    batch = decoded(manifest([{"path": "all.npy#1"}, {"path": "all.npy#0"}]), any_study(sequence=FRAMES))
    save("one.npy", pictures(4, seed=1))
    alone = decoded(manifest([{"path": "one.npy"}]), any_study(sequence=FRAMES))
    assert torch.equal(batch.steps[0], alone.steps[0]) and not torch.equal(batch.steps[0], batch.steps[1])


def test_a_colour_clip_becomes_grey(any_study: AnyStudy, save: Save, manifest: Written) -> None:
    grey = pictures(3)
    save("grey.npy", grey)
    save("colour.npy", np.repeat(grey[..., None], 3, axis=3))
    batch = decoded(manifest([{"path": "grey.npy"}, {"path": "colour.npy"}]), any_study(sequence=FRAMES))
    assert torch.allclose(batch.steps[0], batch.steps[1], atol=0.05)


def write_clip(path: Path, frames: np.ndarray) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = UltrasoundMultiFrameImageStorage, UID("2.25.1")
    dataset.Modality = "US"
    dataset.set_pixel_data(frames, "MONOCHROME2", 8, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)


def test_a_multi_frame_dicom_file_is_a_clip(
    any_study: AnyStudy, tmp_path: Path, save: Save, manifest: Written
) -> None:
    frames = pictures(4)
    frames[0, 0, 0], frames[0, 0, 1] = 0, 255  # the whole range, which an array without a window has
    write_clip(tmp_path / "clip.dcm", frames)
    save("clip.npy", frames)
    batch = decoded(manifest([{"path": "clip.dcm"}, {"path": "clip.npy"}]), any_study(sequence=FRAMES))
    assert batch.lengths.tolist() == [4, 4]
    assert torch.allclose(batch.steps[0], batch.steps[1], atol=1e-4)
    study = any_study(sequence=FRAMES, data={"modality": ["CT"]})
    with pytest.raises(WrongModality, match="modality US"):
        decoded(manifest([{"path": "clip.dcm"}]), study)


def test_too_long_a_clip_is_refused_by_line(any_study: AnyStudy, save: Save, manifest: Written) -> None:
    path = manifest([{"path": save("a.npy", pictures(4))}])
    with pytest.raises(CaseTooWide, match="line 2: 4 steps, and the study takes 3"):
        decoded(path, any_study(sequence={**FRAMES, "max_steps": 3}))


@pytest.mark.parametrize("shape", [(8,), (0, 8, 8), (2, 8, 8, 4), (1, 2, 8, 8, 3)])
def test_what_is_no_stack_is_refused(
    any_study: AnyStudy, save: Save, manifest: Written, shape: tuple[int, ...]
) -> None:
    path = manifest([{"path": save("a.npy", np.zeros(shape, np.uint8))}])
    source, study = ManifestSource(path, "elm"), any_study(sequence=FRAMES)
    with pytest.raises(ImageUnreadable):
        decode(source, source.entries(study), study, CPU)


def test_views_of_a_patient_are_one_case_in_their_order(
    any_study: AnyStudy, save: Save, manifest: Written
) -> None:
    shown = pictures(3)
    rows = [
        {"path": save("b.png", shown[0]), "patient_id": "p1", "view": "ES00"},
        {"path": save("c.png", pictures(1, 16)[0]), "patient_id": "p2", "label": "1"},
        {"path": save("z.png", shown[1]), "patient_id": "p1", "view": "ED01"},
        {"path": save("y.png", shown[2]), "patient_id": "p1", "view": "ED00"},
    ]
    study = any_study(sequence=VIEWS, data={"min_test_cases": 0})
    path = manifest(rows)
    batch = decoded(path, study)
    assert batch.lengths.tolist() == [3, 1] and batch.targets.tolist() == [0, 1]
    wanted = shown[[2, 1, 0]].reshape(3, 64) / 255.0
    assert np.allclose(batch.steps[0], (wanted - wanted.mean()) / wanted.std(), atol=1e-5)
    source = ManifestSource(path, "elm")
    cases = site_cases(source.entries(study), "elm", study)
    assert len(cases.train) == 2 and labels(cases.train, study, source) == (1, 1)


def test_views_without_names_are_in_the_order_of_their_paths(
    any_study: AnyStudy, save: Save, manifest: Written
) -> None:
    path = manifest([{"path": save(name, pictures(1)[0]), "patient_id": "p"} for name in ("b.png", "a.png")])
    (entry,) = ManifestSource(path, "elm").entries(any_study(sequence=VIEWS))
    assert [row.path for row in entry.rows] == ["a.png", "b.png"]


def test_each_phase_of_a_patient_is_a_case(any_study: AnyStudy, manifest: Written) -> None:
    views = ("ES01", "ED00", "ES00", "ED01", "")
    rows = [{"path": f"{n}.png", "patient_id": "p", "view": view} for n, view in enumerate(views)]
    entries = ManifestSource(manifest(rows), "elm").entries(
        any_study(sequence={**VIEWS, "case": "phase"}, data={"min_test_cases": 0})
    )
    assert [[row.view for row in entry.rows] for entry in entries] == [
        ["ES00", "ES01"],
        ["ED00", "ED01"],
        [""],
    ]
    assert {entry.patient for entry in entries} == {"p"}


def test_views_with_two_labels_are_refused(any_study: AnyStudy, manifest: Written) -> None:
    rows = [{"path": "a.png", "patient_id": "p"}, {"path": "b.png", "patient_id": "p", "label": "1"}]
    with pytest.raises(ManifestInvalid, match="lines 2, 3 are views of one case"):
        ManifestSource(manifest(rows), "elm").entries(any_study(sequence=VIEWS))


def test_too_many_views_are_refused(any_study: AnyStudy, save: Save, manifest: Written) -> None:
    path = manifest([{"path": save(f"{n}.png", pictures(1)[0]), "patient_id": "p"} for n in range(3)])
    with pytest.raises(CaseTooWide, match="3 steps"):
        decoded(path, any_study(sequence={**VIEWS, "max_steps": 2}))


@pytest.mark.parametrize(
    "sequence", [{"kind": "slices", "slice_spacing_mm": 5.0}, {**FRAMES, "pixel_spacing_mm": 1.0}]
)
def test_a_manifest_knows_no_spacing(
    any_study: AnyStudy, manifest: Written, sequence: dict[str, object]
) -> None:
    with pytest.raises(CohortUnsuitable, match="knows no spacing"):
        ManifestSource(manifest([{"path": "a.npy"}]), "elm").entries(any_study(sequence=sequence))


STEPS = {"kind": "steps", "variables": {"HR": {"centre": 80.0, "scale": 20.0}}}


def test_a_row_names_a_record(any_study: AnyStudy, tmp_path: Path, manifest: Written) -> None:
    nan = np.nan
    first = (np.array([0.0, 60.0]), np.array([[1.0, 100.0], [2.0, nan]], np.float32))
    second = (np.array([5.0]), np.array([[nan, 60.0]], np.float32))
    write_records(tmp_path / "r.npz", ["age", "HR"], [first, second])
    path = manifest([{"path": "r.npz#1"}, {"path": "r.npz#0", "label": "1"}])
    source, study = ManifestSource(path, "elm"), any_study(sequence=STEPS)
    batch = decode(source, source.entries(study), study, CPU)
    assert batch.steps[:, 0].tolist() == [[-1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]
    assert batch.targets.tolist() == [0, 1]


@pytest.mark.parametrize("place", ["r.npz", "r.npz#2"])
def test_a_record_that_is_not_there_is_refused(
    any_study: AnyStudy, tmp_path: Path, manifest: Written, place: str
) -> None:
    record = (np.array([0.0]), np.array([[1.0]], np.float32))
    write_records(tmp_path / "r.npz", ["HR"], [record, record])
    source, study = ManifestSource(manifest([{"path": place}]), "elm"), any_study(sequence=STEPS)
    with pytest.raises(RecordsInvalid, match="has 2 records"):
        decode(source, source.entries(study), study, CPU)


def test_a_file_whose_arrays_do_not_fit_holds_no_records(
    any_study: AnyStudy, tmp_path: Path, manifest: Written
) -> None:
    table, variables = np.zeros((3, 2)), np.array(["HR"])
    np.savez(tmp_path / "r.npz", table=table, ends=np.array([1, 2]), variables=variables)
    source, study = ManifestSource(manifest([{"path": "r.npz#0"}]), "elm"), any_study(sequence=STEPS)
    with pytest.raises(RecordsInvalid, match="do not fit"):
        decode(source, source.entries(study), study, CPU)
