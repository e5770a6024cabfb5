"""A cohort that the site has registered, as a study's cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from client.cohorts.case import Case
from client.records import grid_length, record_steps
from client.sources.boxes import box_targets, boxes_around
from client.sources.entry import Entry, groups_of
from client.sources.targets import BY_STEP, case_targets, classes_found, mask_targets
from client.tensors import Pictures, SpacingMm, batch_steps, mask_on_grid
from common.errors import CohortEmpty, CohortUnsuitable, TargetInvalid
from common.sequences import SequenceBatch, pad
from common.study import Patches, Rows, Steps, Study

if TYPE_CHECKING:  # a federation without cohorts does not wait for a database to be imported
    from client.cohorts.cohort import Cohort

SINGLE_PICTURES = (Rows, Patches)


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
        """The cohort's cases that have a label, or in a study by pixel or box a mask.

        Raises:
            CohortUnsuitable: It was taken in for another kind of sequence, or of another modality.
            CohortHeldBack, CohortEmpty, CohortUnknown, HomeMissing: It cannot be used at all.
        """
        from client.cohorts.home import open_home

        cohort = _opened(self.stamp())
        masked = study.study.task in BY_STEP
        cohort.require_usable(open_home(self.home).policy.quarantine_limit, labelled=not masked)
        _check_kind(cohort, study)
        cases = [case for case in cohort.cases if (case.content.mask if masked else case.label)]
        if not cases:
            raise CohortEmpty(
                f"no case of {len(cohort.cases)} in cohort {cohort.row.name!r} has a mask",
                hint="Run the same `consilium site cohort add` again, with the masks.",
            )
        return tuple(map(_entry, cases))

    def size_bytes(self, entries: Sequence[Entry], study: Study) -> int:
        """Memory that the entries' steps take as tensors, padded to the longest, nearly."""
        cohort, sequence = _opened(self.stamp()), study.sequence
        if isinstance(sequence, SINGLE_PICTURES):
            return len(entries) * sequence.steps * _step_bytes(study)
        longest = max((_steps(cohort, e.item, study) for e in entries if isinstance(e.item, Case)), default=0)
        return len(entries) * longest * _step_bytes(study)

    def tensors(self, entries: Sequence[Entry], study: Study, device: torch.device) -> SequenceBatch:
        """The entries' cases as sequences with what is to be learnt, in their order, checked against digests.

        Raises:
            CaseCorrupt: What is stored is not what was written.
            CaseTooWide, CohortUnsuitable: A case does not fit the study's field or lacks its spacing.
            LabelUnknown, TargetInvalid: What is to be learnt of a case is not named by the study, or is none.
        """
        cohort = _opened(self.stamp())
        cases = [entry.item for entry in entries if isinstance(entry.item, Case)]
        cohort.verify(cases)
        if study.sequence.kind == "steps":
            variables = cohort.row.rules.variables
            records = [record_steps(*cohort.record(case), variables, study, case.name) for case in cases]
            return pad(records, case_targets(entries, study)).to(device)
        pictures = [_pictures(cohort, case) for case in cases]
        if study.study.task not in BY_STEP:
            return batch_steps(pictures, case_targets(entries, study), study, device)
        targets = [
            _targets(cohort, entry, shown, study) for entry, shown in zip(entries, pictures, strict=True)
        ]
        return batch_steps(pictures, targets, study, device)

    def classes(self, entries: Sequence[Entry], study: Study) -> Iterable[set[int]]:
        """The classes that each entry has.

        Raises:
            LabelUnknown: The study does not name one of them.
        """
        cohort = _opened(self.stamp())
        return classes_found(entries, study, lambda entry: _mask(cohort, entry))


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
    if isinstance(sequence, Steps):
        return grid_length(cohort.record(case)[0], sequence)
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


def _entry(case: Case) -> Entry:
    groups = groups_of(case.content.sex, case.content.age, case.content.scanner)
    return Entry(case.patient, case.split, case.label or "", f"case {case.name}", case, groups)


def _pictures(cohort: Cohort, case: Case) -> Pictures:
    frames, display = cohort.pictures(case)
    return Pictures(frames, display, _spacing_mm(case), case.name)


def _spacing_mm(case: Case) -> SpacingMm | None:
    between, rows, columns = case.content.spacing_mm
    return None if rows is None or columns is None else (between, rows, columns)


def _mask(cohort: Cohort, entry: Entry) -> NDArray[np.uint8]:
    mask = cohort.mask(entry.item) if isinstance(entry.item, Case) else None
    if mask is None:
        raise TargetInvalid(f"{entry.where} has no mask")
    return mask


def _targets(cohort: Cohort, entry: Entry, pictures: Pictures, study: Study) -> torch.Tensor:
    """What is to be learnt of a case by step, out of its mask."""
    mask = _mask(cohort, entry)
    if mask.shape != pictures.shape:
        raise TargetInvalid(f"{entry.where}: a mask of shape {mask.shape}, and pictures of {pictures.shape}")
    laid = mask_on_grid(mask, pictures.spacing_mm, study, entry.where)
    if study.study.task == "detection":
        return box_targets(boxes_around(laid, entry, study), study, entry.where)
    return mask_targets(laid, entry, study)
