"""Small archives as hospitals have them, homes to take them into, and what becomes of them."""

from __future__ import annotations

import atexit
import shutil
import zlib
from collections import Counter
from collections.abc import Iterable
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, BasicTextSRStorage, CTImageStorage, ExplicitVRLittleEndian

from client.cohorts.catalogue import Catalogue
from client.cohorts.cohort import Cohort, open_cohort
from client.cohorts.home import Home, create_home
from client.cohorts.intake import Request, take_in
from client.cohorts.rules import Rules
from client.cohorts.store import PixelStore
from client.dicom.outcomes import Outcome
from common.audit import AuditLog
from common.errors import CohortUnknown

ROOT_UID = "1.2.826.0.1.3680043.2.1125.4711"
SHAPE = (6, 8)
SPACING_MM = (0.5, 0.75)
AXIAL = [1, 0, 0, 0, 1, 0]


def values(*seeds: object, shape: tuple[int, ...] = SHAPE) -> NDArray[np.uint16]:
    """Pixels that are the same for the same seeds and others for others."""
    draw = np.random.default_rng(zlib.crc32(repr(seeds).encode()))
    return draw.integers(0, 4096, shape).astype(np.uint16)


def uid(*parts: object) -> UID:
    """A hospital's UID."""
    return UID(".".join([ROOT_UID, *(str(zlib.crc32(str(part).encode())) for part in parts)]))


def picture(
    patient: str = "A", series: str = "1", number: int = 1, pixels: NDArray[Any] | None = None, **more: Any
) -> Dataset:
    """A picture without a place; its pixels are those of its patient, series and number."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, uid(patient, series, number)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid(patient), uid(patient, series)
    dataset.PatientID, dataset.PatientName, dataset.Modality = patient, f"Name^{patient}", "CT"
    dataset.InstanceNumber, dataset.StudyDate = number, "20190412"
    dataset.Manufacturer, dataset.ManufacturerModelName = "SIEMENS", "Ward 7"
    pixels = values(patient, series, number) if pixels is None else pixels
    dataset.set_pixel_data(pixels, "MONOCHROME2", 8 * pixels.itemsize, generate_instance_uid=False)
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


def slice_at(
    z: float, patient: str = "A", series: str = "1", number: int | None = None, **more: Any
) -> Dataset:
    """An axial slice at ``z`` mm."""
    number = round(z) + 1 if number is None else number
    place: dict[str, Any] = {
        "ImagePositionPatient": [-10, -20, z],
        "ImageOrientationPatient": AXIAL,
        "PixelSpacing": list(SPACING_MM),
        "FrameOfReferenceUID": uid(patient, "space"),
    }
    return picture(patient, series, number, **(place | more))


def volume(patient: str = "A", series: str = "1", slices: int = 3, **more: Any) -> list[Dataset]:
    """A stack of slices, 2 mm apart."""
    return [slice_at(2.0 * n, patient, series, n + 1, **more) for n in range(slices)]


def report(patient: str = "A") -> Dataset:
    """A structured report: no pixels."""
    dataset = picture(patient, "sr")
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(dataset, keyword)
    dataset.SOPClassUID, dataset.Modality = BasicTextSRStorage, "SR"
    return dataset


def copied(dataset: Dataset, mark: str) -> Dataset:
    """The object as an archive sends it on that gives everything new UIDs."""
    other = Dataset(dataset)
    other.file_meta = FileMetaDataset()
    other.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(other, keyword, uid(dataset[keyword].value, mark))
    return other


def laid(folder: Path, datasets: Iterable[Dataset | bytes], prefix: str = "IM") -> Path:
    """The folder with a file for each object."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, dataset in enumerate(datasets):
        path = folder / f"{prefix}{number:04d}"
        if isinstance(dataset, bytes):
            path.write_bytes(dataset)
        else:
            dataset.save_as(path, enforce_file_format=True)
    return folder


def labels_of(path: Path, rows: str, header: str = "patient_id,label,split") -> Path:
    """A table of labels; ``rows`` are parted by blanks."""
    path.write_text("\n".join([header, *rows.split()]) + "\n", encoding="utf-8")
    return path


@cache
def _template() -> Home:
    folder = Path(mkdtemp(prefix="consilium-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return create_home(folder / "home", "test")


def new_home(folder: Path) -> Home:
    """A home of its own, made by copying one, because making the tables takes a while.

    All of a test run's have the same key.
    """
    shutil.copytree(_template().folder, folder)
    return Home(folder)


def taken(home: Home, *dicom: Path, name: str = "c", rules: Rules | None = None, **more: Any) -> Cohort:
    """The cohort after an intake."""
    take_in(home, Request(name, dicom, rules or Rules(), **more))
    return open_cohort(home, name)


def outcomes(cohort: Cohort) -> Counter[str]:
    """Files by outcome and reason."""
    found: Counter[str] = Counter()
    for outcome in Outcome:
        for why, files in cohort.of(outcome).items():
            found[f"{outcome}:{why}" if why else str(outcome)] += files
    return found


def hospital() -> list[Dataset | bytes]:
    """Three patients with volumes, and all that is found beside them."""
    return [
        *volume("Anna", "1", 4),
        *volume("Berta", "1", 3),
        *volume("Carla", "1", 2),
        picture("Anna", "film", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        report("Berta"),
        picture(""),
        b"a letter",
        b"",
        *volume("Anna", "1", 1),  # once more
        *(copied(dataset, "sent on") for dataset in volume("Berta", "1", 3)),
        picture("Carla", "9", 1),
        picture("Carla", "9", 1, pixels=np.zeros((6, 8), dtype=np.uint16)),  # under the same name
    ]


EXPECTED = {
    "case": 9,
    "duplicate": 4,
    "other:localiser": 1,
    "other:report": 1,
    "quarantined:patient-missing": 1,
    "quarantined:not-dicom": 1,
    "quarantined:file-empty": 1,
    "quarantined:instance-conflict": 2,
}


def same(one: Cohort, other: Cohort) -> None:
    """Both hold the same cases, of files that ended in the same ways."""
    assert one.row.fingerprint == other.row.fingerprint
    assert [(c.name, c.digest) for c in one.cases] == [(c.name, c.digest) for c in other.cases]
    assert outcomes(one) == outcomes(other)
    assert one.row.notes == other.row.notes


def whole(home: Home, name: str) -> None:
    """What is stored is what was written, and the log is the one that was written."""
    with closing(Catalogue(home.database)) as catalogue, suppress(CohortUnknown):
        cohort = catalogue.cohort(name)
        blobs = catalogue.blobs(cohort.id)
        store = PixelStore(home.cohort_folder(name), blobs)
        assert all(store.intact(digest) for digest in blobs)
        assert {image.digest for image in catalogue.images(cohort.id)} <= blobs.keys()
    list(AuditLog(home.folder / "audit.jsonl").entries())
    assert not list(home.folder.rglob("*.partial"))
