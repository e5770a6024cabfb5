"""The invented hospitals: the same bytes from the same seed, and every scanner's files read back."""

from __future__ import annotations

import csv
import errno
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from client.images import read_image
from common.errors import DiskFull, OutputExists, OutputUnwritable
from deploy.phantom import write_hospitals
from deploy.phantom.anatomy import draw_chest, render
from deploy.phantom.folder import NAMES
from deploy.phantom.hospitals import Row
from deploy.phantom.radiograph import Radiograph
from deploy.phantom.scanner import CATALOGUE, Scanner, scanner_of

SCANNERS = [scanner_of(site, np.random.default_rng(site)) for site in range(len(CATALOGUE) + 6)]


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def rows(manifest: Path) -> list[Row]:
    with manifest.open(encoding="utf-8", newline="") as stream:
        lines = list(csv.reader(stream))[1:]
    return [Row(path, site, patient, split, int(label)) for path, site, patient, split, label in lines]


@pytest.fixture(scope="module")
def four_hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hospitals(tmp_path_factory.mktemp("phantom") / "hospitals", sites=4, patients=12)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_none_of_them(tmp_path: Path) -> None:
    once, again, other = (
        files(write_hospitals(tmp_path / name, sites=2, seed=seed, patients=5).parent)
        for name, seed in (("once", 3), ("again", 3), ("other", 4))
    )
    assert once == again
    assert not set(once.values()) & set(other.values())


def test_a_site_does_not_depend_on_how_many_others_there_are(tmp_path: Path) -> None:
    few = files(write_hospitals(tmp_path / "few", sites=1, patients=5).parent)
    many = files(write_hospitals(tmp_path / "many", sites=3, patients=5).parent)
    assert few.keys() - {"manifest.csv"} == {name for name in many if name.startswith("alder/")}
    assert all(many[name] == content for name, content in few.items() if name != "manifest.csv")


def test_the_manifest_names_every_file_and_has_the_agreed_columns(four_hospitals: Path) -> None:
    assert four_hospitals.read_text().splitlines()[0] == "path,site,patient_id,split,label"
    named = [row.path for row in rows(four_hospitals)]
    assert len(named) == len(set(named))
    assert set(named) == files(four_hospitals.parent).keys() - {"manifest.csv"}


def test_a_patient_has_one_split_and_one_label_and_each_site_both_classes_in_both_splits(
    four_hospitals: Path,
) -> None:
    patients, cells = defaultdict(set), defaultdict(set)
    images = Counter(row.patient_id for row in rows(four_hospitals))
    for row in rows(four_hospitals):
        patients[row.patient_id].add((row.site, row.split, row.label))
        cells[row.site].add((row.split, row.label))
    assert all(len(values) == 1 for values in patients.values())
    assert len(patients) == 4 * 12
    assert set(images.values()) == {1, 2}
    assert list(cells) == list(NAMES[:4])
    every = {("train", 0), ("train", 1), ("test", 0), ("test", 1)}
    assert all(found == every for found in cells.values())


def test_files_are_plainly_invented_and_their_uids_are_their_own(four_hospitals: Path) -> None:
    seen = set()
    for row in rows(four_hospitals):
        dataset = dcmread(four_hospitals.parent / row.path)
        assert str(dataset.PatientName).startswith("PHANTOM^")
        assert dataset.PatientID == row.patient_id
        assert dataset.BodyPartExamined == "CHEST"
        assert dataset.PixelSpacing[0] > 0
        assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID
        assert dataset.SOPInstanceUID.is_valid
        seen.add(dataset.SOPInstanceUID)
    assert len(seen) == len(rows(four_hospitals))


def test_the_catalogue_holds_every_way_of_writing_a_picture() -> None:
    assert {scanner.bits_stored for scanner in CATALOGUE} == {8, 10, 12, 14, 16}
    for flag in ("signed", "inverted", "has_window", "implicit_vr"):
        assert {getattr(scanner, flag) for scanner in CATALOGUE[:4]} == {True, False}, flag
    assert {scanner.modality for scanner in CATALOGUE} == {"CR", "DX"}
    assert len({(scanner.rows, scanner.columns) for scanner in CATALOGUE}) == len(CATALOGUE)


@pytest.mark.parametrize("scanner", SCANNERS, ids=lambda scanner: scanner.model)
def test_every_scanners_file_reads_back_as_the_picture_it_showed(scanner: Scanner, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    chest = draw_chest(rng, diseased=True)
    shown = scanner.expose(render(chest, (scanner.rows, scanner.columns), rng), rng)
    radiograph = Radiograph(0, "alder", "alder-0001", "F", 50, 0, 1)
    radiograph.dataset(scanner, scanner.digitise(shown)).save_as(tmp_path / "1.dcm", enforce_file_format=True)

    picture = read_image(tmp_path / "1.dcm")

    if not scanner.has_window:  # a viewer stretches it
        shown = (shown - shown.min()) / (shown.max() - shown.min())
    least, greatest = scanner.stored_range
    step = 1.5 / (greatest - least)
    assert picture.modality == scanner.modality
    assert picture.pixels.shape == (scanner.rows, scanner.columns)
    np.testing.assert_allclose(picture.pixels, shown, atol=step + 1e-6)


def test_monochrome1_is_stored_the_other_way_round() -> None:
    scanner = next(scanner for scanner in CATALOGUE if scanner.inverted)
    black, white = scanner.digitise(np.array([[0.0, 1.0]], dtype=np.float32))[0]
    assert black > white


def test_a_lesion_is_brighter_than_the_same_lung_without_it() -> None:
    for seed in range(20):
        chest = draw_chest(np.random.default_rng(seed), diseased=True)
        healthy = draw_chest(np.random.default_rng(seed), diseased=False)
        assert chest.lesion is not None
        pose = np.random.default_rng(0), np.random.default_rng(0)
        difference = render(chest, (128, 128), pose[0]) - render(healthy, (128, 128), pose[1])
        assert difference.min() > -1e-6
        assert difference.max() > 0.1


def test_an_empty_folder_is_used_and_may_be_entered_by_others(tmp_path: Path) -> None:
    out = tmp_path / "hospitals"
    out.mkdir()
    manifest = write_hospitals(out, sites=1, patients=4)
    assert manifest == out / "manifest.csv"
    assert out.stat().st_mode & 0o777 == tmp_path.joinpath("hospitals", "alder").stat().st_mode & 0o777
    assert list(tmp_path.iterdir()) == [out]


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputExists):
        write_hospitals(tmp_path, sites=1)
    with pytest.raises(OutputExists):
        write_hospitals(tmp_path / "thesis.txt", sites=1)
    assert files(tmp_path) == {"thesis.txt": b"years of work"}


@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, DiskFull), (errno.EACCES, OutputUnwritable)], ids=["full", "denied"]
)
def test_nothing_half_written_is_left_behind(
    number: int, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Radiograph.dataset

    def fail_at_the_third(self: Radiograph, *args: object) -> object:
        if self.patient_id.endswith("3"):
            raise OSError(number, "a fault")
        return original(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Radiograph, "dataset", fail_at_the_third)
    with pytest.raises(error):
        write_hospitals(tmp_path / "hospitals", sites=1, patients=4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong", [{"sites": 0}, {"sites": 1, "patients": 3}, {"sites": 1, "seed": -1}], ids=str
)
def test_too_few_are_refused(wrong: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least"):
        write_hospitals(tmp_path / "hospitals", **wrong)


def test_more_sites_than_names_get_numbers() -> None:
    from deploy.phantom.folder import site_name

    names = [site_name(site) for site in range(3 * len(NAMES))]
    assert len(set(names)) == len(names)
    assert names[len(NAMES)] == "alder-2"
