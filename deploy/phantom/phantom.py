"""Hospitals for any study: cases of the study's task and kind of sequence, with the truth beside them.

Layout: ``manifest.csv`` and beside it a folder for each site. The manifest's column ``hazard``, of risk, is
the truth that no column of a real manifest could say. A site has a scanner of its own: its matrix, exposure
and noise, or how far its instruments are off.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from client.sources.record_file import Record, write_records
from common.errors import InvalidValue
from common.study import Frames, Patches, PictureSequence, Rows, Slices, Steps, Study, Views
from common.study.head import BETWEEN_LABELS, NO_LABEL
from deploy.phantom.courses import draw_outcome, draw_record, hazard
from deploy.phantom.folder import draw_test_patients, new_folder, site_name, write_rows
from deploy.phantom.hospitals import write_hospitals
from deploy.phantom.lesions import Drawn, draw_case, draw_lesion
from deploy.phantom.scanner import Scanner, scanner_of
from deploy.phantom.textures import texture

PATIENTS = 48
LONGEST = 8
"""Most pictures of a clip or a stack; views of a patient are half as many."""

Line = dict[str, str]


def write_phantom(out: Path, study: Study, *, sites: int, seed: int = 0, patients: int = PATIENTS) -> Path:
    """Path of the manifest of hospitals that the study can be run on.

    A classification of single pictures stored as 0 and 1 has those of :mod:`deploy.phantom.hospitals`.

    Args:
        out: Folder that does not exist yet, or is empty.
        study: Its task, labels and sequence.
        sites: Number of hospitals, at least 1.
        seed: Everything follows from it.
        patients: Patients of each hospital, at least 4; the DICOM hospitals have a number of their own.

    Raises:
        OutputExists, OutputUnwritable, DiskFull: As :func:`write_hospitals`.
        InvalidValue: A segmentation whose stored labels are no values of a mask.
        ValueError: Too few sites or patients, or a negative seed.
    """
    if _of_chests(study):
        return write_hospitals(out, sites=sites, seed=seed)
    if sites < 1 or patients < 4 or seed < 0:
        raise ValueError("at least 1 site, 4 patients and a seed of 0 or more are needed")
    stored = _stored(study)
    with new_folder(out) as folder:
        lines = [
            line
            for number in range(sites)
            for line in _Hospital(folder, number, study, stored, seed).lines(patients)
        ]
        write_rows(folder / "manifest.csv", lines)
    return out / "manifest.csv"


def _of_chests(study: Study) -> bool:
    """Whether the study can be of chests with a lesion (1) and without (0)."""
    head = study.study
    named = head.class_index("0") is not None and head.class_index("1") is not None
    plain = head.task == "classification" and not head.several_labels and len(head.classes) == 2
    return plain and named and isinstance(study.sequence, Rows | Patches)


def _stored(study: Study) -> tuple[str, ...]:
    """A stored value of each class, in the order of the classes."""
    labels = study.study.labels
    stored = tuple(next(s for s, n in labels.items() if n == name) for name in study.study.classes)
    if study.study.task == "segmentation" and not all(s.isdecimal() and int(s) < 255 for s in stored):
        raise InvalidValue("a phantom's mask has values: name the labels 0 to 254, or give --data")
    return stored


@dataclass(frozen=True, slots=True)
class _Patient:
    """Whom a case is of, and how bad it is."""

    name: str
    severity: float
    rng: np.random.Generator


class _Hospital:
    """One site's cases.

    Args:
        folder: Of all sites.
        number: Of the site.
        study: What they are made for.
        stored: As :func:`_stored`.
        seed: Of everything.
    """

    def __init__(self, folder: Path, number: int, study: Study, stored: tuple[str, ...], seed: int) -> None:
        self._folder, self._number, self._seed = folder, number, seed
        self._study, self._stored = study, stored
        self._rng = np.random.default_rng([seed, number])
        self._scanner: Scanner = scanner_of(number, self._rng)
        self._name = site_name(number)
        self._records: list[Record] = []
        (folder / self._name).mkdir()

    def lines(self, patients: int) -> Iterator[Line]:
        """The manifest's lines, after all files have been written."""
        severities = (self._rng.permutation(patients) + 0.5) / patients
        in_test = draw_test_patients(self._rng, (severities > 0.5).astype(np.int64))
        found = []
        for place, severity in enumerate(severities.tolist()):
            own = np.random.default_rng([self._seed, self._number, place + 1])
            patient = _Patient(f"{self._name}-{place + 1:04d}", severity, own)
            split = self._study.data.test_split if in_test[place] else "train"
            sex, age = str(own.choice(["F", "M"])), str(int(own.integers(5, 90)))
            common = {"site": self._name, "patient_id": patient.name, "split": split, "sex": sex, "age": age}
            found += [{**line, **common} for line in self._case(patient)]
        if self._records and isinstance(self._study.sequence, Steps):
            path = self._folder / self._name / "records.npz"
            write_records(path, self._study.sequence.names, self._records)
        yield from found

    def _case(self, patient: _Patient) -> Iterator[Line]:
        if isinstance(self._study.sequence, Steps):
            yield self._course(patient, self._study.sequence)
        elif self._study.study.task == "generation":
            yield self._texture(patient, self._study.sequence)
        else:
            yield from self._body(patient, self._study.sequence)

    def _course(self, patient: _Patient, sequence: Steps) -> Line:
        bias = 0.2 * (self._number % 3 - 1)
        most = sequence.max_steps or LONGEST
        record = draw_record(patient.rng, patient.severity, sequence, most, bias)
        self._records.append(record)
        path = f"{self._name}/records.npz#{len(self._records) - 1}"
        return {"path": path, **self._about_case(patient, sequence.time_scale, float(record[0][-1]))}

    def _about_case(self, patient: _Patient, unit: float = 1.0, seen: float = 0.0) -> Line:
        """What is to be learnt of a whole case, by how bad it is; ``seen`` until then, in its own time."""
        if self._study.study.task == "risk":
            outcome = draw_outcome(patient.rng, patient.severity)
            time, known = f"{seen + outcome.time * unit:.6g}", f"{hazard(patient.severity):.6g}"
            return {"label": self._stored[int(outcome.event)], "time": time, "hazard": known}
        return {"label": self._stored[int(patient.severity * len(self._stored))]}

    def _texture(self, patient: _Patient, sequence: PictureSequence) -> Line:
        kind = int(patient.severity * len(self._stored))
        drawn = texture(kind, self._number, sequence.size)
        pictures = [drawn.draw(sequence.size, patient.rng) for _ in range(self._pictures(patient, sequence))]
        single = isinstance(sequence, Rows | Patches)
        path = self._save(f"{patient.name}.npy", pictures[0] if single else np.stack(pictures))
        return {"path": path, "label": self._stored[kind]}

    def _body(self, patient: _Patient, sequence: PictureSequence) -> Iterator[Line]:
        """Pictures of a body, in one file or, of views, one each."""
        count = self._pictures(patient, sequence)
        kinds = self._kinds(patient)
        size = 0.1 + 0.25 * patient.severity if self._study.study.task == "risk" else None
        lesions = [draw_lesion(patient.rng, kind, count, size) for kind in kinds]
        side = sequence.size + (sequence.size // 4 if self._number % 2 else 0)
        drawn = draw_case(patient.rng, (count, side, side), lesions)
        shown = np.stack([self._scanner.expose(picture, patient.rng) for picture in drawn.pictures])
        pixels, about = np.rint(shown * 255).astype(np.uint8), self._about(patient, kinds)
        if isinstance(sequence, Slices | Frames):
            yield {"path": self._save(f"{patient.name}.npy", pixels), **about, **self._truth(patient, drawn)}
            return
        for place in range(count):
            part = drawn.only(place)
            path = self._save(f"{patient.name}-{place}.png", pixels[place])
            view = {"view": f"view {place}"} if isinstance(sequence, Views) else {}
            yield {"path": path, **about, **view, **self._truth(patient, part, f"-{place}")}

    def _pictures(self, patient: _Patient, sequence: PictureSequence) -> int:
        if isinstance(sequence, Rows | Patches):
            return 1
        longest = LONGEST // 2 if isinstance(sequence, Views) else LONGEST
        most = min(longest, getattr(sequence, "max_steps", None) or longest)
        return int(patient.rng.integers(min(2, most), 1 + most))

    def _kinds(self, patient: _Patient) -> list[int]:
        """Which lesions a patient has: of a segmentation or a detection none to two, of any kinds."""
        head, classes = self._study.study, len(self._stored)
        if head.several_labels:
            return [kind for kind in range(classes) if patient.rng.uniform() < 0.4]
        match head.task:
            case "segmentation" | "detection":
                several = min(2, self._study.data.max_boxes) if head.task == "detection" else 2
                count = int(patient.rng.choice([0, 1, several], p=[0.15, 0.55, 0.3]))
                known = classes - 1 if head.task == "segmentation" else classes
                return [int(kind) for kind in patient.rng.integers(0, known, count)]
            case "risk":
                return [0]
            case _:  # the first class has none
                kind = int(patient.severity * classes)
                return [kind - 1] if kind else []

    def _about(self, patient: _Patient, kinds: list[int]) -> Line:
        head = self._study.study
        if head.several_labels:
            return {"label": BETWEEN_LABELS.join(self._stored[kind] for kind in kinds) or NO_LABEL}
        return {"label": ""} if head.task in ("segmentation", "detection") else self._about_case(patient)

    def _truth(self, patient: _Patient, drawn: Drawn, suffix: str = "") -> Line:
        """The columns that say where the lesions are."""
        match self._study.study.task:
            case "segmentation":
                values = np.array([int(stored) for stored in self._stored], np.uint8)[drawn.kinds]
                if suffix:
                    return {"mask_path": self._save(f"{patient.name}{suffix}-mask.png", values[0])}
                return {"mask_path": self._save(f"{patient.name}-mask.npy", values)}
            case "detection":
                boxes = [[[self._stored[box[0]], *box[1:]] for box in picture] for picture in drawn.boxes]
                return {"boxes": json.dumps(boxes[0] if suffix else boxes)}
        return {}

    def _save(self, name: str, array: NDArray[np.uint8] | NDArray[np.float32]) -> str:
        """Path of a new file in the site's folder, as the manifest has it."""
        path = self._folder / self._name / name
        if path.suffix == ".npy":
            np.save(path, array)
        else:
            Image.fromarray(array).save(path)
        return f"{self._name}/{name}"
