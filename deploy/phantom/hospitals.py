"""The hospitals as a folder: their patients, the DICOM files and the manifest.

Layout: ``manifest.csv`` with the columns path, site, patient_id, split and label (0 normal, 1 lesion), and
``SITE/PATIENT/IMAGE.dcm``. The folder appears whole or not at all.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy.phantom.anatomy import draw_chest, render
from deploy.phantom.folder import draw_test_patients, new_folder, site_name
from deploy.phantom.radiograph import Radiograph
from deploy.phantom.scanner import Scanner, scanner_of

PREVALENCES = (0.5, 0.4, 0.55, 0.45)
"""Part of the patients with a lesion at the first sites; every further one draws its own."""

SECOND_IMAGE_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the manifest; its fields are the columns."""

    path: str
    site: str
    patient_id: str
    split: str
    label: int


def write_hospitals(out: Path, *, sites: int, seed: int = 0, patients: int = 80) -> Path:
    """Path of the manifest of the hospitals that have been written.

    Args:
        out: Folder that does not exist yet, or is empty.
        sites: Number of hospitals, at least 1.
        seed: Everything follows from it.
        patients: Patients of each hospital, at least 4, so that both splits can have both classes.

    Raises:
        OutputExists: `out` holds something already.
        OutputUnwritable: `out` cannot be written.
        DiskFull: There is no space left.
        ValueError: Too few sites or patients, or a negative seed.
    """
    if sites < 1 or patients < 4 or seed < 0:
        raise ValueError("at least 1 site, 4 patients and a seed of 0 or more are needed")
    with new_folder(out) as folder:
        rows = [row for site in range(sites) for row in _write_hospital(folder, site, seed, patients)]
        with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(field.name for field in fields(Row))
            writer.writerows(astuple(row) for row in rows)
    return out / "manifest.csv"


def _write_hospital(folder: Path, site: int, seed: int, patients: int) -> Iterator[Row]:
    """The manifest rows of one hospital, each after its file has been written."""
    rng = np.random.default_rng([seed, site])
    name = site_name(site)
    scanner = scanner_of(site, rng)
    drawn = rng.uniform(0.35, 0.6)
    labels = _draw_labels(rng, patients, PREVALENCES[site] if site < len(PREVALENCES) else drawn)
    in_test = draw_test_patients(rng, labels)
    for number in range(patients):
        patient_id = f"{name}-{number + 1:04d}"
        split, label = ("test" if in_test[number] else "train"), int(labels[number])
        # A generator of the patient's own keeps patients apart, however many numbers one of them draws.
        own = np.random.default_rng([seed, site, number + 1])
        for path in _write_patient(folder, name, patient_id, scanner, label, seed, own):
            yield Row(path.relative_to(folder).as_posix(), name, patient_id, split, label)


def _write_patient(
    folder: Path,
    site: str,
    patient_id: str,
    scanner: Scanner,
    label: int,
    seed: int,
    rng: np.random.Generator,
) -> Iterator[Path]:
    """Paths of a patient's one or two images, which show the same chest."""
    chest = draw_chest(rng, diseased=label == 1)
    sex, age_years, day = str(rng.choice(["F", "M"])), int(rng.integers(20, 90)), int(rng.integers(0, 1000))
    images = 2 if rng.uniform() < SECOND_IMAGE_SHARE else 1
    (folder / site / patient_id).mkdir(parents=True)
    for number in range(1, images + 1):
        shown = scanner.expose(render(chest, (scanner.rows, scanner.columns), rng), rng)
        radiograph = Radiograph(seed, site, patient_id, sex, age_years, day, number)
        path = folder / site / patient_id / f"{number}.dcm"
        radiograph.dataset(scanner, scanner.digitise(shown)).save_as(path, enforce_file_format=True)
        yield path


def _draw_labels(rng: np.random.Generator, patients: int, prevalence: float) -> NDArray[np.int64]:
    """(patients,) labels in random order, at least two of each class."""
    diseased = min(max(round(prevalence * patients), 2), patients - 2)
    return rng.permutation(np.repeat([0, 1], [patients - diseased, diseased]))
