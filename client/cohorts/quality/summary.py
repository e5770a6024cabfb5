"""What the coordinator may learn of a cohort: counts, and none in which a patient could be found.

A cell is shown only if it holds at least ``min_cell`` cases of at least as many patients. Scanners, sizes,
histograms, pseudonyms and pictures stay at the site.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from client.cohorts.quality.assessment import Quality
from client.cohorts.quality.counts import Cell, Dimension
from client.cohorts.quality.lookalikes import Issue
from client.cohorts.quality.suppression import Published, below, part, suppressed
from client.dicom.outcomes import Kind, Outcome, Reason

Summary = dict[str, int | str | Published]

_TABLES = {
    "labels": Dimension.label,
    "splits": Dimension.split,
    "modalities": Dimension.modality,
    "years": Dimension.year,
}


def summary(quality: Quality, min_cell: int = 10) -> Summary:
    """The counts of a cohort that may be told to the coordinator.

    Args:
        quality: Of the cohort.
        min_cell: The least number of cases, of patients and of files that is told.

    Returns:
        ``cases`` and ``patients``; ``files`` by outcome, ``reasons`` of quarantine and ``kinds`` of other
        objects; ``labels``, ``splits``, ``modalities`` and ``years`` in cases; ``concerns`` in patients.
        ``<10`` stands for a small count, ``>=10`` for one hidden to protect a small one; a table that cannot
        be protected is empty.

    Raises:
        ValueError: ``min_cell`` is below 1.
    """
    if min_cell < 1:
        raise ValueError(f"a cell holds at least 1, not {min_cell}")
    files, counts = quality.files, quality.counts
    reasons = {str(reason): files.reasons.get(reason, 0) for reason in Reason}
    kinds = {str(kind): files.kinds.get(kind, 0) for kind in Kind}
    told: Summary = {
        "cases": _number(counts.cases, min_cell),
        "patients": _number(counts.patients, min_cell),
        # The number of files seen is not told, so no outcome is the rest of it.
        "files": {str(outcome): _number(files.of(outcome), min_cell) for outcome in Outcome},
        "reasons": _of_files(reasons, files.of(Outcome.quarantined), min_cell),
        "kinds": _of_files(kinds, files.of(Outcome.other), min_cell),
    }
    for name, dimension in _TABLES.items():
        told[name] = _of_cases(counts.by[dimension], min_cell)
    told["concerns"] = _concerns(quality, min_cell)
    return told


def _number(value: int, min_cell: int) -> int | str:
    return value if value >= min_cell else below(min_cell)


def _of_files(values: Mapping[str, int], total: int, min_cell: int) -> Published:
    """Every code, met or not; nothing if the total itself is small."""
    return suppressed(values, min_cell, least=0) if total >= min_cell else {}


def _of_cases(cells: Sequence[Cell], min_cell: int) -> Published:
    few = [cell.name for cell in cells if cell.patients < min_cell]
    return suppressed({cell.name: cell.cases for cell in cells}, min_cell, few)


def _concerns(quality: Quality, min_cell: int) -> Published:
    extents = quality.look_alikes.extents
    patients = {str(issue): extents[issue].patients for issue in Issue}
    patients["outliers"] = len({outlier.facts.patient for outlier in quality.outliers})
    return {name: part(value, quality.counts.patients, min_cell) for name, value in patients.items()}
