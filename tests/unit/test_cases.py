"""A site's cases are checked against the study before any picture, decoded once, and held."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from client.cases import CaseCache, SiteCases, labels, patients
from client.cases import decode as decode_entries
from client.cases import site_cases as cases_of_entries
from client.manifest import Manifest, Row, read_manifest, write_manifest
from client.sources import Entry, ManifestSource, manifest_entries
from common.errors import (
    DataError,
    EmptySite,
    ImageMissing,
    ImageUnreadable,
    LabelUnknown,
    NoSuchSite,
    NoTestCases,
    TooFewCases,
    WrongModality,
)
from common.models import build_model, fixed_encoder
from common.sequences import SequenceBatch
from common.study import Study

MakeStudy = Callable[..., Study]
CPU = torch.device("cpu")
SOURCE = ManifestSource(Path("manifest.csv"), "elm")


def rows(text: str) -> list[Row]:
    """Rows of one site from words such as ``train:p1:0``."""
    split_up = [word.split(":") for word in text.split()]
    return [
        Row(f"{index}.png", "elm", patient, split, label, line=index + 2)
        for index, (split, patient, label) in enumerate(split_up)
    ]


def cases_of(folder: Path, *paths: str) -> Manifest:
    return Manifest.of(folder, [Row(path, "elm", path, "train", "0", 2) for path in paths])


def site_cases(manifest: Manifest, site: str, study: Study) -> SiteCases:
    return cases_of_entries(manifest_entries(manifest, site, study), site, study)


def decode(manifest: Manifest, study: Study) -> SequenceBatch:
    """The pictures of a manifest's one site, in the manifest's order."""
    path = manifest.folder / "manifest.csv"
    write_manifest(path, manifest.rows)
    return decode_entries(ManifestSource(path, "elm"), manifest_entries(manifest, "elm", study), study, CPU)


def lines(entries: tuple[Entry, ...]) -> list[str]:
    return [entry.where for entry in entries]


def write_dicom(path: Path, modality: str) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = ComputedRadiographyImageStorage, UID("2.25.1")
    dataset.Modality = modality
    dataset.set_pixel_data(np.eye(8, dtype=np.uint8) * 255, "MONOCHROME2", 8, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)


def test_cases_are_counted_by_class_and_patient(make_study: MakeStudy) -> None:
    manifest = Manifest.of(Path("/"), rows("train:p1:0 train:p1:0 train:p2:1 val:p3:1 test:p4:1"))
    study = make_study()
    cases = site_cases(manifest, "elm", study)
    assert lines(cases.train) == ["manifest line 2", "manifest line 3", "manifest line 4"]
    assert lines(cases.test) == ["manifest line 6"]
    assert labels(cases.train, study, SOURCE) == (2, 1)
    assert labels(cases.test, study, SOURCE) == (0, 1)
    assert patients(cases.train) == 2


def test_a_study_may_test_on_the_validation_split(make_study: MakeStudy) -> None:
    manifest = Manifest.of(Path("/"), rows("train:p1:0 val:p3:1 test:p4:1"))
    cases = site_cases(manifest, "elm", make_study(data={"test_split": "val"}))
    assert lines(cases.test) == ["manifest line 3"]


def test_two_stored_values_may_mean_one_class(make_study: MakeStudy) -> None:
    study = make_study(study={"labels": {"0": "normal", "1": "lesion", "2": "lesion"}})
    cases = site_cases(Manifest.of(Path("/"), rows("train:p1:2 train:p2:1 test:p3:0")), "elm", study)
    assert labels(cases.train, study, SOURCE) == (0, 2)


@pytest.mark.parametrize(
    ("text", "data", "kind", "private"),
    [
        pytest.param("test:p1:0", {}, EmptySite, "split=train", id="no training cases"),
        pytest.param("train:p1:0 test:p2:0", {"min_cases": 2}, TooFewCases, "1 training", id="few cases"),
        pytest.param(
            "train:p1:0 train:p1:0 test:p2:0",
            {"min_patients": 2},
            TooFewCases,
            "1 patients",
            id="few patients",
        ),
        pytest.param("train:p1:0", {}, NoTestCases, "0 cases", id="no test cases"),
        pytest.param("train:p1:0 val:p2:0", {}, NoTestCases, "0 cases", id="validation is no test"),
        pytest.param(
            "train:p1:0 test:p2:0", {"min_test_cases": 2}, NoTestCases, "1 cases", id="few test cases"
        ),
        pytest.param("train:p1:0 train:p3:7 test:p2:0", {}, LabelUnknown, "line 3: label '7'", id="label"),
        pytest.param("train:p1:0 test:p2:yes", {}, LabelUnknown, "line 3: label 'yes'", id="test label"),
    ],
)
def test_a_site_that_does_not_meet_the_study_is_refused(
    make_study: MakeStudy, text: str, data: dict[str, int], kind: type[DataError], private: str
) -> None:
    with pytest.raises(kind, match=private):
        site_cases(Manifest.of(Path("/"), rows(text)), "elm", make_study(data=data))


def test_a_site_without_test_cases_may_be_accepted(make_study: MakeStudy) -> None:
    manifest = Manifest.of(Path("/"), rows("train:p1:0"))
    assert site_cases(manifest, "elm", make_study(data={"min_test_cases": 0})).test == ()


def test_a_label_of_an_unused_split_does_not_matter(make_study: MakeStudy) -> None:
    manifest = Manifest.of(Path("/"), rows("train:p1:0 test:p2:1 val:p3:unclear"))
    assert len(site_cases(manifest, "elm", make_study()).train) == 1


def test_an_unknown_site_is_refused(make_study: MakeStudy) -> None:
    with pytest.raises(NoSuchSite):
        site_cases(Manifest.of(Path("/"), rows("train:p1:0")), "zelkova", make_study())


def test_pictures_become_standardised_rows(tmp_path: Path, make_study: MakeStudy) -> None:
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "a.png")
    Image.fromarray(np.full((30, 20), 7, dtype=np.uint8)).save(tmp_path / "flat.png")
    manifest = cases_of(tmp_path, "a.png", "flat.png")
    study = make_study(data={"min_test_cases": 0})
    batch = decode(manifest, study)
    expected = (np.arange(64) - 31.5) / np.arange(64).std()
    assert batch.steps.shape == (2, 8, 8) and batch.steps.dtype == torch.float32
    np.testing.assert_allclose(batch.steps[0].numpy().ravel(), expected, atol=1e-5)
    assert not batch.steps[1].any()
    assert batch.lengths.tolist() == [8, 8] and batch.targets.tolist() == [0, 0]


def test_patches_become_squares_in_raster_order(tmp_path: Path, make_study: MakeStudy) -> None:
    pixels = np.kron(np.arange(4).reshape(2, 2), np.ones((4, 4))).astype(np.uint8) * 60
    Image.fromarray(pixels).save(tmp_path / "a.png")
    manifest = cases_of(tmp_path, "a.png")
    study = make_study(data={"min_test_cases": 0}, sequence={"kind": "patches", "patch": 4})
    steps = decode(manifest, study).steps[0]
    assert steps.shape == (4, 16)
    assert (steps.std(dim=1) < 1e-6).all() and (steps[:, 0].diff() > 0).all()


@pytest.mark.parametrize(
    ("wanted", "accepted"), [((), True), (("CR", "DX"), True), (("DX",), False), (("cr",), False)]
)
def test_a_study_may_ask_for_modalities(
    tmp_path: Path, make_study: MakeStudy, wanted: tuple[str, ...], accepted: bool
) -> None:
    write_dicom(tmp_path / "a.dcm", "CR")
    manifest = cases_of(tmp_path, "a.dcm")
    study = make_study(data={"min_test_cases": 0, "modality": wanted})
    if accepted:
        assert len(decode(manifest, study)) == 1
    else:
        with pytest.raises(WrongModality, match="modality CR"):
            decode(manifest, study)


def test_a_picture_that_knows_no_modality_is_taken(tmp_path: Path, make_study: MakeStudy) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    manifest = cases_of(tmp_path, "a.png")
    study = make_study(data={"min_test_cases": 0, "modality": ("CR",)})
    assert len(decode(manifest, study)) == 1


def test_a_fragment_names_a_row_of_an_array(tmp_path: Path, make_study: MakeStudy) -> None:
    pictures = np.stack([np.eye(8), np.eye(8)[::-1]]).astype(np.uint8) * 255
    np.savez(tmp_path / "data.npz", train_images=pictures, other=pictures[::-1])
    np.save(tmp_path / "data.npy", pictures)
    study = make_study(data={"min_test_cases": 0})
    paths = ("data.npz#train_images/0", "data.npz#other/0", "data.npz#train_images/1", "data.npy#/1")
    manifest = cases_of(tmp_path, *paths)
    first, other, second, alone = decode(manifest, study).steps
    assert not torch.equal(first, other)
    assert torch.equal(other, second) and torch.equal(second, alone)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        pytest.param("absent.png", ImageMissing, id="absent"),
        pytest.param("absent.npz#a/0", ImageMissing, id="absent array file"),
        pytest.param("text.png", ImageUnreadable, id="no picture"),
        pytest.param("data.npz#b/0", ImageUnreadable, id="unknown array"),
        pytest.param("data.npz#a/1", ImageUnreadable, id="row behind the end"),
        pytest.param("data.npz#a/-1", ImageUnreadable, id="negative row"),
        pytest.param("data.npz#a/x", ImageUnreadable, id="row that is no number"),
        pytest.param("data.npz#a", ImageUnreadable, id="no row"),
        pytest.param("data.npz", ImageUnreadable, id="whole array"),
    ],
)
def test_what_is_no_picture_is_a_coded_error(
    tmp_path: Path, make_study: MakeStudy, path: str, kind: type[DataError]
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    np.savez(tmp_path / "data.npz", a=np.zeros((1, 8, 8), dtype=np.uint8))
    manifest = cases_of(tmp_path, path)
    study = make_study(data={"min_test_cases": 0})
    with pytest.raises(kind):
        decode(manifest, study)


def test_a_file_name_may_hold_a_number_sign(tmp_path: Path, make_study: MakeStudy) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "IM#1.png")
    manifest = cases_of(tmp_path, "IM#1.png")
    study = make_study(data={"min_test_cases": 0})
    assert len(decode(manifest, study)) == 1


def test_cases_are_decoded_once(hospitals: Path, make_study: MakeStudy) -> None:
    cache, source = CaseCache(), ManifestSource(hospitals, "alder")
    first = cache.get(source, "train", make_study(), CPU)
    assert cache.get(source, "train", make_study(training={"local_epochs": 3}), CPU) is first
    assert len(first) == 6
    assert len(cache.get(source, "test", make_study(), CPU)) == 2
    assert len(cache.get(ManifestSource(hospitals, "birch"), "train", make_study(), CPU)) == 8


HOG: dict[str, Any] = {"model": {"encoder": "hog"}, "sequence": {"kind": "rows", "size": 32}}


@pytest.mark.parametrize("sequence", [HOG["sequence"], {"kind": "patches", "size": 32, "patch": 16}])
@pytest.mark.parametrize("limit_bytes", [2**30, 1], ids=["held", "streamed"])
def test_what_an_encoder_without_weights_makes_of_cases_is_made_once(
    hospitals: Path, make_study: MakeStudy, sequence: dict[str, Any], limit_bytes: int
) -> None:
    """To the bit what the model makes of them in every step, whoever is in a batch."""
    study = make_study(**{**HOG, "sequence": sequence})
    source = ManifestSource(hospitals, "birch")
    raw = CaseCache().get(source, "train", make_study(sequence=sequence), CPU)
    cases = CaseCache(limit_bytes).get(source, "train", study, CPU)
    model = build_model(study).eval()
    encoder, calls = model.encoder, []
    encoder.register_forward_hook(lambda *given: calls.append(1))
    for index in (torch.arange(8), torch.tensor([5]), torch.tensor([3, 0, 6])):
        given, seen = cases.take(index), raw.take(index)
        assert given.encoded and not seen.encoded
        assert torch.equal(given.steps, encoder(seen.steps, seen.lengths)[0])
        wanted, before = model.on(seen), len(calls)
        assert torch.equal(model.on(given), wanted) and len(calls) == before
        assert torch.equal(model.on(seen), wanted)  # the model reads pictures as before


def test_cases_that_are_changed_at_random_stay_pictures(hospitals: Path, make_study: MakeStudy) -> None:
    study, source = make_study(**HOG, augmentation={"noise": 0.1}), ManifestSource(hospitals, "birch")
    cache = CaseCache()
    train, test = (cache.get(source, split, study, CPU).take(torch.arange(2)) for split in ("train", "test"))
    assert not train.encoded and test.encoded
    plain = cache.get(source, "train", make_study(**HOG), CPU).take(torch.arange(2))
    assert plain.encoded and plain.steps.shape == test.steps.shape


@pytest.mark.parametrize(
    "sections",
    [
        {"sequence": {"kind": "rows", "size": 32}},
        {"model": {"encoder": "cnn"}, "sequence": {"kind": "rows", "size": 32}},
        {"model": {"encoder": "hog"}, "sequence": {"kind": "frames", "size": 32}},
        {"model": {"encoder": "hog", "cell": "conv_gru"}, "sequence": {"kind": "frames", "size": 32}},
    ],
)
def test_other_encoders_are_no_fixed_ones(make_study: MakeStudy, sections: dict[str, Any]) -> None:
    assert fixed_encoder(make_study(**sections)) is None


@pytest.mark.parametrize(
    "change", [{"sequence": {"size": 16}}, {"study": {"labels": {"0": "lesion", "1": "normal", "2": "?"}}}]
)
def test_cases_are_decoded_again_for_another_view_of_them(
    hospitals: Path, make_study: MakeStudy, change: dict[str, Any]
) -> None:
    cache, source = CaseCache(), ManifestSource(hospitals, "alder")
    first = cache.get(source, "train", make_study(), CPU)
    second = cache.get(source, "train", make_study(**change), CPU)
    assert first is not second and cache.get(source, "train", make_study(), CPU) is first


def test_a_changed_manifest_changes_the_cases(
    write_pictures: Callable[..., Path], make_study: MakeStudy
) -> None:
    path = write_pictures({"elm": (4, 2)})
    cache, study = CaseCache(), make_study()
    before = cache.get(ManifestSource(path, "elm"), "train", study, CPU)
    kept = path.read_text().splitlines()
    path.write_text("\n".join(kept[:2] + kept[3:]) + "\n")
    stamp = read_manifest(path).stamp + 1
    os.utime(path, ns=(stamp, stamp))
    after = cache.get(ManifestSource(path, "elm"), "train", study, CPU)
    assert len(before) == 4 and len(after) == 3
    assert torch.equal(after.steps[0], before.steps[0]) and torch.equal(after.steps[1:], before.steps[2:])


@pytest.mark.parametrize(
    "limit", [{"limit_bytes": (6 + 8) * 8 * 8 * 4}, {"most": 2}], ids=["bytes", "splits"]
)
def test_the_least_recently_used_cases_go_first(
    limit: dict[str, int], hospitals: Path, make_study: MakeStudy
) -> None:
    study, cache = make_study(), CaseCache(**limit)  # alder and birch, and nobody more
    alder, birch = (
        cache.get(ManifestSource(hospitals, name), "train", study, CPU) for name in ("alder", "birch")
    )
    assert cache.get(ManifestSource(hospitals, "alder"), "train", study, CPU) is alder
    cache.get(ManifestSource(hospitals, "dogwood"), "train", study, CPU)
    assert cache.get(ManifestSource(hospitals, "alder"), "train", study, CPU) is alder
    assert cache.get(ManifestSource(hospitals, "birch"), "train", study, CPU) is not birch


def test_cases_larger_than_the_cache_are_still_served(hospitals: Path, make_study: MakeStudy) -> None:
    cache, source = CaseCache(limit_bytes=1), ManifestSource(hospitals, "alder")
    first = cache.get(source, "train", make_study(), CPU)
    assert cache.get(source, "train", make_study(), CPU) is first
