"""Where a site's cases come from: rows of a manifest, or a cohort that the site has registered.

Either gives entries, which the study's checks look at, and turns entries into tensors.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from client.cohorts.case import Case
from client.images import Picture, read_array_row, read_image, resize
from client.manifest import Manifest, Row, read_manifest
from client.tensors import Pictures, batch_steps, record_steps
from common.errors import CohortUnsuitable, ImageUnreadable, WrongModality
from common.sequences import SequenceBatch, pad, standardise, to_steps
from common.study import Patches, Rows, Study

if TYPE_CHECKING:  # a federation without cohorts does not wait for a database to be imported
    from client.cohorts.cohort import Cohort

ARRAY_ROW = re.compile(r"(.*\.np[yz])#(?:(.*)/)?(.*)")
SINGLE_PICTURES = (Rows, Patches)


@dataclass(frozen=True, slots=True)
class Entry:
    """One case, as far as a study's checks need to know it.

    Attributes:
        patient: Whom it is of; a pseudonym in a cohort.
        split: train, val or test.
        label: As stored.
        where: How messages at this site name it.
        item: What its source makes tensors of.
    """

    patient: str
    split: str
    label: str
    where: str
    item: Row | Case


@dataclass(frozen=True, slots=True)
class ManifestSource:
    """The rows of a site's name in a manifest."""

    manifest: Path
    name: str

    def stamp(self) -> tuple[str, ...]:
        """Something that changes when the manifest does."""
        return (str(self.manifest), str(read_manifest(self.manifest).stamp), self.name)

    def entries(self, study: Study) -> tuple[Entry, ...]:
        """The site's rows.

        Raises:
            DataError: The manifest cannot be read or does not know the site.
            CohortUnsuitable: The study is about sequences of pictures or of measurements.
        """
        return manifest_entries(read_manifest(self.manifest), self.name, study)

    def size_bytes(self, entries: Sequence[Entry], study: Study) -> int:
        """Memory that the entries' steps take as tensors."""
        sequence = study.sequence
        steps = sequence.steps if isinstance(sequence, SINGLE_PICTURES) else 0
        return len(entries) * steps * _step_bytes(study)

    def tensors(
        self, entries: Sequence[Entry], labels: Sequence[int], study: Study, device: torch.device
    ) -> SequenceBatch:
        """The entries' pictures as standardised sequences, in their order.

        Raises:
            DataError: A picture is missing, undecodable or of another modality.
        """
        folder = read_manifest(self.manifest).folder
        return _decode_rows(folder, entries, labels, study).to(device)


@dataclass(frozen=True, slots=True)
class CohortSource:
    """A cohort of a site's home.

    Attributes:
        home: The site's home.
        name: Of the cohort.
        fingerprint: Which state of it is meant; empty for whatever it is now.
    """

    home: Path
    name: str
    fingerprint: str = ""

    def stamp(self) -> tuple[str, ...]:
        """Something that changes when the cohort does.

        Raises:
            CohortUnsuitable: It is no longer the one that is meant.
        """
        from client.cohorts.cohort import find_cohort
        from client.cohorts.home import open_home

        row = find_cohort(open_home(self.home), self.name)
        if self.fingerprint and row.fingerprint != self.fingerprint:
            raise CohortUnsuitable(
                f"cohort {self.name!r} is not the one that the run began with",
                hint="Let an intake end before a run begins, and start the run again.",
            )
        return (str(self.home), self.name, row.fingerprint, str(row.intakes), str(row.ready))

    def entries(self, study: Study) -> tuple[Entry, ...]:
        """The cohort's cases that have a label.

        Raises:
            CohortUnsuitable: It was taken in for another kind of sequence, or of another modality.
            CohortHeldBack, CohortEmpty, CohortUnknown, HomeMissing: It cannot be used at all.
        """
        from client.cohorts.home import open_home

        cohort = _opened(self.stamp())
        cohort.require_usable(open_home(self.home).policy.quarantine_limit)
        _check_kind(cohort, study)
        return tuple(
            Entry(case.patient, case.split, case.label, f"case {case.name}", case)
            for case in cohort.cases
            if case.label
        )

    def size_bytes(self, entries: Sequence[Entry], study: Study) -> int:
        """Memory that the entries' steps take as tensors, padded to the longest, nearly."""
        cohort, sequence = _opened(self.stamp()), study.sequence
        if isinstance(sequence, SINGLE_PICTURES):
            return len(entries) * sequence.steps * _step_bytes(study)
        longest = max((_steps(cohort, e.item, study) for e in entries if isinstance(e.item, Case)), default=0)
        return len(entries) * longest * _step_bytes(study)

    def tensors(
        self, entries: Sequence[Entry], labels: Sequence[int], study: Study, device: torch.device
    ) -> SequenceBatch:
        """The entries' cases as sequences, in their order, checked against their digests.

        Raises:
            CaseCorrupt: What is stored is not what was written.
            CaseTooWide, CohortUnsuitable: A case does not fit the study's field or lacks its spacing.
        """
        cohort = _opened(self.stamp())
        cases = [entry.item for entry in entries if isinstance(entry.item, Case)]
        cohort.verify(cases)
        if study.sequence.kind == "steps":
            variables = cohort.row.rules.variables
            records = [record_steps(*cohort.record(case), variables, study, case.name) for case in cases]
            return pad(records, torch.tensor(labels, dtype=torch.int64)).to(device)
        return batch_steps([_pictures(cohort, case) for case in cases], labels, study, device)


Source = ManifestSource | CohortSource


def manifest_entries(manifest: Manifest, site: str, study: Study) -> tuple[Entry, ...]:
    """The rows of one site.

    Raises:
        NoSuchSite: There are none.
        CohortUnsuitable: The study is about sequences of pictures or of measurements.
    """
    if not isinstance(study.sequence, SINGLE_PICTURES):
        raise CohortUnsuitable(
            f"a manifest names single pictures; the study asks for {study.sequence.kind}",
            hint="Register a cohort with `consilium site cohort add`, and give it with --cohort.",
        )
    if study.sequence.pixel_spacing_mm is not None or study.data.window is not None:
        raise CohortUnsuitable(
            "a manifest knows no spacing and no modality values, and the study states a window or spacing",
            hint="Register a cohort with `consilium site cohort add`, and give it with --cohort.",
        )
    return tuple(
        Entry(row.patient_id, row.split, row.label, f"manifest line {row.line}", row)
        for row in manifest.of_site(site)
    )


def _decode_rows(
    folder: Path, entries: Sequence[Entry], labels: Sequence[int], study: Study
) -> SequenceBatch:
    """Pictures named by rows as standardised sequences on the CPU."""
    sequence = study.sequence
    if not isinstance(sequence, SINGLE_PICTURES):
        raise CohortUnsuitable(f"a manifest names single pictures; the study asks for {sequence.kind}")
    steps = np.empty((len(entries), sequence.steps, sequence.frame[0] * sequence.frame[1]), dtype=np.float32)
    for index, entry in enumerate(entries):
        assert isinstance(entry.item, Row)  # noqa: S101  a manifest's entry
        picture = _picture(folder, entry.item)
        if study.data.modality and picture.modality and picture.modality not in study.data.modality:
            raise WrongModality(f"{entry.item.path}: modality {picture.modality}")
        pixels = resize(picture.pixels, (sequence.size, sequence.size))
        steps[index] = to_steps(standardise(pixels), sequence)
    return SequenceBatch(
        steps=torch.from_numpy(steps),
        lengths=torch.full((len(entries),), sequence.steps),
        targets=torch.tensor(labels, dtype=torch.int64),
    )


@lru_cache(maxsize=4)
def _opened(stamp: tuple[str, ...]) -> Cohort:
    """The cohort as it is under its stamp."""
    from client.cohorts.cohort import open_cohort
    from client.cohorts.home import open_home

    home, cohort, *_ = stamp
    return open_cohort(open_home(Path(home)), cohort)


def _step_bytes(study: Study) -> int:
    """Bytes of one step of float32."""
    height, width = study.sequence.frame
    return 4 * height * width


def _steps(cohort: Cohort, case: Case, study: Study) -> int:
    """Steps of a case, nearly."""
    content, sequence = case.content, study.sequence
    if sequence.kind == "steps":
        return len(cohort.record(case)[0])
    between, wanted = content.spacing_mm[0], sequence.kind == "slices" and sequence.slice_spacing_mm
    return round(len(content.pieces) * between / wanted) if between and wanted else len(content.pieces)


def _check_kind(cohort: Cohort, study: Study) -> None:
    kind, wanted = cohort.row.rules.sequence, study.sequence.kind
    if kind != ("rows" if isinstance(study.sequence, SINGLE_PICTURES) else wanted):
        raise CohortUnsuitable(
            f"cohort {cohort.row.name!r} was taken in as {kind}; the study asks for {wanted}"
        )
    others = Counter(case.content.modality for case in cohort.cases if case.content.modality)
    if study.data.modality and (strange := {m: n for m, n in others.items() if m not in study.data.modality}):
        counts = ", ".join(f"{n} of modality {m}" for m, n in sorted(strange.items()))
        raise CohortUnsuitable(
            f"cohort {cohort.row.name!r} has {counts}; the study takes {', '.join(study.data.modality)}",
            hint="Take the archive in with --modality, or widen [data] modality.",
        )


def _pictures(cohort: Cohort, case: Case) -> Pictures:
    frames, display = cohort.pictures(case)
    between, rows, columns = case.content.spacing_mm
    spacing_mm = None if rows is None or columns is None else (between, rows, columns)
    return Pictures(frames, display, spacing_mm, case.name)


def _picture(folder: Path, row: Row) -> Picture:
    array_row = ARRAY_ROW.fullmatch(row.path)
    if array_row is None:
        return read_image(folder / row.path)
    file, array, index = array_row.groups()
    if not index.isdecimal():
        raise ImageUnreadable(f"{folder / file}: a row of an array is named like #train_images/17")
    return read_array_row(folder / file, array, int(index))
