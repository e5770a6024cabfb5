"""A cohort looked at: its cases in small, computed once and kept, and the quality report made of them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.cohorts.case import Case
from client.cohorts.catalogue import Catalogue
from client.cohorts.cohort import Cohort, open_cohort
from client.cohorts.home import Home
from client.cohorts.quality import (
    CaseFacts,
    CasePicture,
    FileCounts,
    Quality,
    Reference,
    assess,
    picture_of,
    render,
    summary,
)
from client.cohorts.quality.drift import Shift
from client.dicom.decoding.display import brightness
from client.dicom.outcomes import Kind, Outcome, Reason
from common.errors import CohortEmpty
from common.files import write_atomically

Portrait = tuple[CaseFacts, CasePicture | None]


@dataclass(frozen=True, slots=True)
class Moved:
    """How a cohort's newest cases differ from those it had before."""

    before: int
    newest: int
    shifts: tuple[Shift, ...]


def inspect(home: Home, name: str, against: str | None = None) -> Quality:
    """The quality of a cohort, if need be compared with another one of the site.

    Raises:
        CohortUnknown: There is none of that name.
        CohortEmpty: It has no case.
        CaseCorrupt: What is stored is not what was written.
    """
    cohort = open_cohort(home, name)
    reference = inspect(home, against).reference if against else None
    return assess(_files(cohort), _portraits(home, cohort), reference)


def write_report(home: Home, name: str, out: Path, against: str | None = None) -> Quality:
    """The quality of a cohort, after its page was written.

    Raises:
        DiskFull, OutputUnwritable: The page cannot be written. Others as :func:`inspect`.
    """
    quality = inspect(home, name, against)
    write_atomically(out, render(quality, name), 0o600)
    return quality


def outward_summary(home: Home, name: str) -> dict[str, Any] | None:
    """Counts for the coordinator by the site's policy; None where the site sends none."""
    policy = home.policy
    return summary(inspect(home, name), policy.min_cell) if policy.share_summary else None


def moved_since(home: Home, cohort: Cohort) -> Moved | None:
    """How the cases of the newest intake differ from the earlier ones; None where either are missing."""
    last = cohort.row.intakes
    newest = [case for case in cohort.cases if case.intake == last]
    if not newest or len(newest) == len(cohort.cases):
        return None
    portraits = dict(zip((case.name for case in cohort.cases), _portraits(home, cohort), strict=True))
    files = FileCounts(0)
    earlier = [portraits[case.name] for case in cohort.cases if case.intake != last]
    reference: Reference = assess(files, earlier).reference
    drift = assess(files, [portraits[case.name] for case in newest], reference).drift
    return Moved(len(earlier), len(newest), drift.shifts if drift else ())


def _portraits(home: Home, cohort: Cohort) -> list[Portrait]:
    if not cohort.cases:
        raise CohortEmpty(f"cohort {cohort.row.name!r} has no case")
    with closing(Catalogue(home.database)) as catalogue:
        kept = catalogue.portraits(cohort.row.id)
        cohort.verify(case for case in cohort.cases if case.digest not in kept)
        found = {
            case.digest: CasePicture.of_json(kept[case.digest])
            if case.digest in kept
            else picture_of(_shown(cohort, case))
            for case in cohort.cases
            if cohort.row.rules.sequence != "steps"
        }
        if found.keys() != kept.keys():
            catalogue.put_portraits(cohort.row.id, {d: picture.to_json() for d, picture in found.items()})
    return [(_facts(cohort, case), found.get(case.digest)) for case in cohort.cases]


def _shown(cohort: Cohort, case: Case) -> NDArray[np.float32]:
    frames, display = cohort.pictures(case)
    return brightness(np.asarray(frames), display)


def _facts(cohort: Cohort, case: Case) -> CaseFacts:
    content = case.content
    return CaseFacts(
        case=case.name,
        patient=case.patient,
        split=case.split,
        label=case.label,
        modality=content.modality,
        scanner=content.scanner,
        year=content.year,
        shape=_shape(cohort, content.pieces[0].blob, len(content.pieces)),
        spacing_mm=content.spacing_mm,
        findings=content.findings,
        pixel_digests=tuple(f"{piece.blob}:{piece.frame}" for piece in content.pieces),
    )


def _shape(cohort: Cohort, blob: str, pieces: int) -> tuple[int, int, int]:
    shape = cohort.store.array(blob).shape
    return (pieces, shape[-2], shape[-1]) if len(shape) == 3 else (shape[0], 1, shape[1] - 1)


def _files(cohort: Cohort) -> FileCounts:
    outcomes = {outcome: cohort.of(outcome).total() for outcome in Outcome}
    return FileCounts(
        cohort.seen,
        outcomes,
        {Reason.of(why): files for why, files in cohort.of(Outcome.quarantined).items()},
        {Kind.of(why): files for why, files in cohort.of(Outcome.other).items()},
    )
