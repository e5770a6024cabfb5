"""A site's cases: checked against what the study asks for, decoded once, held as tensors.

Nothing here leaves the site but counts: of cases, of patients, and of the cases of each class.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from client.images import Picture, read_array_row, read_image, resize
from client.manifest import Manifest, Row, read_manifest
from common.errors import EmptySite, ImageUnreadable, LabelUnknown, NoTestCases, TooFewCases, WrongModality
from common.sequences import SequenceBatch, standardise, to_steps
from common.study import Study

ARRAY_ROW = re.compile(r"(.*\.np[yz])#(?:(.*)/)?(.*)")
CACHE_BYTES = 4 * 2**30
Split = Literal["train", "test"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a site's cases come from: the rows of its name in a manifest."""

    manifest: Path
    site: str


@dataclass(frozen=True, slots=True)
class SiteCases:
    """The rows of one site that the study uses; ``test`` follows ``[data] test_split``."""

    folder: Path
    train: tuple[Row, ...]
    test: tuple[Row, ...]

    def labels(self, split: Sequence[Row], study: Study) -> tuple[int, ...]:
        """Cases of each class, in the order of the study's classes."""
        counts = [0] * len(study.study.classes)
        for row in split:
            counts[_label(row, study)] += 1
        return tuple(counts)


def patients(rows: Sequence[Row]) -> int:
    """How many patients the rows are of."""
    return len({row.patient_id for row in rows})


def site_cases(manifest: Manifest, site: str, study: Study) -> SiteCases:
    """The cases of a site, after every check that needs no picture.

    Raises:
        DataError: The site is unknown, empty or too small, lacks test cases, or has an unnamed label.
    """
    rows = manifest.of_site(site)
    train = tuple(row for row in rows if row.split == "train")
    test = tuple(row for row in rows if row.split == study.data.test_split)
    for row in (*train, *test):
        _label(row, study)
    needs = study.data
    if not train:
        raise EmptySite(f"site {site!r} has no rows with split=train")
    if len(train) < needs.min_cases or patients(train) < needs.min_patients:
        raise TooFewCases(
            f"site {site!r} has {len(train)} training cases of {patients(train)} patients; "
            f"the study asks for {needs.min_cases} of {needs.min_patients}"
        )
    if len(test) < needs.min_test_cases:
        raise NoTestCases(
            f"site {site!r} has {len(test)} rows with split={needs.test_split}; "
            f"the study asks for {needs.min_test_cases}"
        )
    return SiteCases(manifest.folder, train, test)


def decode(cases: SiteCases, rows: Sequence[Row], study: Study) -> SequenceBatch:
    """The rows' pictures as standardised sequences, in the rows' order, on the CPU.

    Raises:
        DataError: A picture is missing, undecodable or of another modality.
    """
    sequence = study.sequence
    steps = np.empty((len(rows), sequence.steps, sequence.frame[0] * sequence.frame[1]), dtype=np.float32)
    for index, row in enumerate(rows):
        picture = _picture(cases.folder, row)
        if study.data.modality and picture.modality and picture.modality not in study.data.modality:
            raise WrongModality(f"{row.path}: modality {picture.modality}")
        pixels = resize(picture.pixels, (sequence.size, sequence.size))
        steps[index] = to_steps(standardise(pixels), sequence)
    return SequenceBatch(
        steps=torch.from_numpy(steps),
        lengths=torch.full((len(rows),), sequence.steps),
        labels=torch.tensor([_label(row, study) for row in rows], dtype=torch.int64),
    )


class CaseCache:
    """Decoded cases of the sites a process serves; the least recently used go first when memory is short."""

    def __init__(self, limit_bytes: int = CACHE_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._held: OrderedDict[tuple[str, ...], SequenceBatch] = OrderedDict()

    def get(self, source: Source, split: Split, study: Study, device: torch.device) -> SequenceBatch:
        """One split of a site's cases on ``device``, decoded if need be.

        Raises:
            DataError: As :func:`site_cases` and :func:`decode`.
        """
        manifest = read_manifest(source.manifest)
        shape = study.model_dump_json(include={"study": {"labels"}, "data": True, "sequence": True})
        key = (str(source.manifest), str(manifest.stamp), source.site, split, shape, str(device))
        if key not in self._held:
            cases = site_cases(manifest, source.site, study)
            rows = cases.train if split == "train" else cases.test
            self._held[key] = decode(cases, rows, study).to(device)
            self._size_bytes += self._held[key].size_bytes
            self._shrink()
        self._held.move_to_end(key)
        return self._held[key]

    def _shrink(self) -> None:
        while len(self._held) > 1 and self._size_bytes > self._limit_bytes:
            _, batch = self._held.popitem(last=False)
            self._size_bytes -= batch.size_bytes


def _picture(folder: Path, row: Row) -> Picture:
    array_row = ARRAY_ROW.fullmatch(row.path)
    if array_row is None:
        return read_image(folder / row.path)
    file, array, index = array_row.groups()
    if not index.isdecimal():
        raise ImageUnreadable(f"{folder / file}: a row of an array is named like #train_images/17")
    return read_array_row(folder / file, array, int(index))


def _label(row: Row, study: Study) -> int:
    index = study.study.class_index(row.label)
    if index is None:
        known = ", ".join(f"{stored} = {name}" for stored, name in study.study.labels.items())
        raise LabelUnknown(f"manifest line {row.line}: label {row.label!r}; the study names {known}")
    return index
