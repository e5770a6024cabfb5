"""The rows of a site's name in a manifest: pictures, clips, stacks, views of a patient, or records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from client.ages import age_band
from client.images import (
    Picture,
    place_of,
    read_array_row,
    read_image,
    read_mask,
    read_stack,
    resize,
    stack_length,
)
from client.manifest import Manifest, Row, read_manifest
from client.records import grid_length, record_steps
from client.sources.boxes import box_targets, boxes_around, read_boxes
from client.sources.entry import Entry, groups_of
from client.sources.record_file import open_records
from client.sources.targets import BY_STEP, case_targets, classes_found, mask_targets
from client.sources.views import views_of
from client.tensors import check_steps, mask_on_grid
from common.errors import CohortUnsuitable, ManifestInvalid, TargetInvalid, WrongModality
from common.sequences import SequenceBatch, pad, standardise, to_steps
from common.study import Frames, Patches, PictureSequence, Rows, Slices, Steps, Study, Views

SINGLE_PICTURES = (Rows, Patches)
Pixels = list[NDArray[np.float32]]
"""The pictures of a case in their order, each (H, W) in [0, 1]."""


@dataclass(frozen=True, slots=True)
class ManifestSource:
    """The rows of a site's name in a manifest."""

    manifest: Path
    name: str

    def stamp(self) -> tuple[str, ...]:
        """Something that changes when the manifest does."""
        return (str(self.manifest), str(read_manifest(self.manifest).stamp), self.name)

    def entries(self, study: Study) -> tuple[Entry, ...]:
        """The site's cases.

        Raises:
            DataError: The manifest cannot be read or does not know the site, or views contradict each other.
            CohortUnsuitable: The study asks for what no manifest knows.
        """
        return manifest_entries(read_manifest(self.manifest), self.name, study)

    def size_bytes(self, entries: Sequence[Entry], study: Study) -> int:
        """Memory that the entries' steps take as tensors, padded to the longest."""
        height, width = study.sequence.frame
        longest = max((_length(self._folder, entry, study) for entry in entries), default=0)
        return len(entries) * longest * 4 * height * width

    def tensors(self, entries: Sequence[Entry], study: Study, device: torch.device) -> SequenceBatch:
        """The entries' cases as sequences with what is to be learnt of them, in their order.

        Raises:
            DataError: A file is missing, undecodable or of another modality, or does not fit the study.
        """
        folder = self._folder
        if isinstance(study.sequence, Steps):
            records = [_record(folder, entry, study) for entry in entries]
            return pad(records, case_targets(entries, study)).to(device)
        if isinstance(study.sequence, SINGLE_PICTURES) and study.study.task not in BY_STEP:
            return _single_pictures(folder, entries, study).to(device)
        return _stacks(folder, entries, study).to(device)

    def classes(self, entries: Sequence[Entry], study: Study) -> Iterable[set[int]]:
        """The classes that each entry has.

        Raises:
            DataError: A label, mask or box cannot be read or is not named by the study.
        """
        return classes_found(entries, study, lambda entry: _class_values(self._folder, entry))

    @property
    def _folder(self) -> Path:
        return read_manifest(self.manifest).folder


def manifest_entries(manifest: Manifest, site: str, study: Study) -> tuple[Entry, ...]:
    """The cases of one site: its rows, or those that are views of one patient or phase.

    Raises:
        NoSuchSite: There are none.
        ManifestInvalid: The views of a case have two labels.
        CohortUnsuitable: The study states a window or spacing, which no manifest knows.
    """
    sequence = study.sequence
    spaced = isinstance(sequence, PictureSequence) and (
        sequence.pixel_spacing_mm is not None or getattr(sequence, "slice_spacing_mm", None) is not None
    )
    if spaced or study.data.window is not None:
        raise CohortUnsuitable(
            "a manifest knows no spacing and no modality values, and the study states a window or spacing",
            hint="Register a cohort with `consilium site cohort add`, and give it with --cohort.",
        )
    rows = manifest.of_site(site)
    if isinstance(sequence, Views):
        return tuple(_views(own) for own in views_of(rows, sequence.case))
    return tuple(_entry(row, row) for row in rows)


def _entry(row: Row, item: Row | tuple[Row, ...]) -> Entry:
    groups = groups_of(row.sex, age_band(row.age), row.scanner)
    return Entry(row.patient_id, row.split, row.label, f"manifest line {row.line}", item, groups)


def _views(own: tuple[Row, ...]) -> Entry:
    if len({(row.label, row.split) for row in own}) > 1:
        lines = ", ".join(str(row.line) for row in sorted(own, key=lambda row: row.line)[:10])
        raise ManifestInvalid(f"lines {lines} are views of one case with different labels or splits")
    return _entry(min(own, key=lambda row: row.line), own)


def _length(folder: Path, entry: Entry, study: Study) -> int:
    """Steps of a case, without decoding it."""
    sequence = study.sequence
    if isinstance(sequence, SINGLE_PICTURES):
        return sequence.steps
    if isinstance(sequence, Views):
        return len(entry.rows)
    place = place_of(folder, entry.rows[0].path)
    if isinstance(sequence, Steps):
        return grid_length(open_records(place.file).record(place)[0], sequence)
    return stack_length(place)


def _record(folder: Path, entry: Entry, study: Study) -> torch.Tensor:
    place = place_of(folder, entry.rows[0].path)
    records = open_records(place.file)
    return record_steps(*records.record(place), records.variables, study, entry.where)


def _single_pictures(folder: Path, entries: Sequence[Entry], study: Study) -> SequenceBatch:
    """Pictures named by rows, written straight into their batch: they are all of one length."""
    sequence = study.sequence
    assert isinstance(sequence, SINGLE_PICTURES)  # noqa: S101  as the caller has seen
    steps = np.empty((len(entries), sequence.steps, sequence.frame[0] * sequence.frame[1]), dtype=np.float32)
    for index, entry in enumerate(entries):
        steps[index] = _steps(_pixels(folder, entry, study), study)
    lengths = torch.full((len(entries),), sequence.steps)
    return SequenceBatch(torch.from_numpy(steps), lengths, case_targets(entries, study))


def _stacks(folder: Path, entries: Sequence[Entry], study: Study) -> SequenceBatch:
    """Cases of several pictures, or with targets by step."""
    steps, by_step = [], []
    for entry in entries:
        pixels = _pixels(folder, entry, study)
        steps.append(torch.from_numpy(_steps(pixels, study)))
        if study.study.task in BY_STEP:
            shapes = [(height, width) for height, width in (picture.shape for picture in pixels)]
            by_step.append(step_targets(folder, entry, shapes, study))
    return pad(steps, by_step if study.study.task in BY_STEP and by_step else case_targets(entries, study))


def _pixels(folder: Path, entry: Entry, study: Study) -> Pixels:
    """The case's pictures as displayed.

    Raises:
        DataError: One cannot be read, is of another modality, or there are too many.
    """
    sequence, found = study.sequence, []
    if isinstance(sequence, Slices | Frames):
        stack = read_stack(place_of(folder, entry.rows[0].path))
        _check_modality(entry, stack.modality, study)
        check_steps(entry.where, len(stack.pixels), sequence.max_steps)
        return list(stack.pixels)
    if isinstance(sequence, Views):
        check_steps(entry.where, len(entry.rows), sequence.max_steps)
    for row in entry.rows:
        picture = _picture(folder, row)
        _check_modality(entry, picture.modality, study)
        found.append(picture.pixels)
    return found


def _picture(folder: Path, row: Row) -> Picture:
    place = place_of(folder, row.path)
    if place.is_array:
        return read_array_row(place.file, place.array, place.index)
    return read_image(place.file)


def _check_modality(entry: Entry, modality: str | None, study: Study) -> None:
    if study.data.modality and modality and modality not in study.data.modality:
        raise WrongModality(f"{entry.where}, {entry.rows[0].path}: modality {modality}")


def _steps(pixels: Pixels, study: Study) -> NDArray[np.float32]:
    """(T, F) steps of a case, standardised over all of it; where they are to be generated, brightness."""
    sequence = study.sequence
    assert isinstance(sequence, PictureSequence)  # noqa: S101  records have no pictures
    field = np.stack([resize(picture, (sequence.size, sequence.size)) for picture in pixels])
    field = np.clip(field, 0, 1) if study.study.task == "generation" else standardise(field)
    if isinstance(sequence, SINGLE_PICTURES):
        return to_steps(field[0], sequence)
    return field.reshape(len(field), -1)


def step_targets(folder: Path, entry: Entry, shapes: Sequence[tuple[int, int]], study: Study) -> torch.Tensor:
    """What is to be learnt of a case by step, as :mod:`client.sources.targets` has it.

    Args:
        folder: Of the manifest.
        entry: The case; it has boxes or masks.
        shapes: Height and width of each of its pictures, as stored.
        study: Its task, sequence and labels.

    Raises:
        DataError: They cannot be read, or are not those of such pictures.
    """
    if any(row.boxes for row in entry.rows):
        return box_targets(read_boxes(entry, shapes, study), study, entry.where)
    masks = list(_masks(folder, entry))
    if [mask.shape for mask in masks] != list(shapes):
        raise TargetInvalid(
            f"{entry.where}: masks of {len(masks)} pictures for {len(shapes)}, or of another height or width"
        )
    laid = np.concatenate([_laid(mask, study, entry) for mask in masks])
    if study.study.task == "detection":
        return box_targets(boxes_around(laid, entry, study), study, entry.where)
    return mask_targets(laid, entry, study)


def _laid(mask: NDArray[np.uint8], study: Study, entry: Entry) -> NDArray[np.uint8]:
    return mask_on_grid(mask[None], None, study, entry.where)


def _masks(folder: Path, entry: Entry) -> Iterator[NDArray[np.uint8]]:
    """The masks of a case's pictures in their order, each (H, W)."""
    for row in entry.rows:
        yield from read_mask(place_of(folder, row.mask_path))


def _class_values(folder: Path, entry: Entry) -> NDArray[np.uint8]:
    """What stands in any of a case's masks; in no order, since views may differ in shape."""
    return np.concatenate([mask.reshape(-1) for mask in _masks(folder, entry)])
