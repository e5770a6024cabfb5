"""A cohort in counts, as ``cohort add``, ``list`` and ``show`` tell it: no patient and no file is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from client.cohorts.cohort import Cohort
from client.dicom.outcomes import Outcome, hint_of
from common.errors import ConsiliumError


@dataclass(frozen=True, slots=True)
class Overview:
    """Counts of one cohort.

    Attributes:
        cohort: Its name.
        sequence: What a case is.
        variables: Of a table of measurements.
        fingerprint: The same for the same cases.
        files: Files seen, and of them by outcome; the four add up to ``seen``.
        pixels: Files with pixels, and of them those that were decoded.
        quarantined: Files by reason.
        other: Files by kind.
        cases: By split and label; a case without label is under "unlabelled".
        patients: How many.
        irregular: Cases by what is irregular about their geometry.
        notes: Counts of what did not fit together: labels, masks, rows of tables.
        trouble: Why it cannot be used; None if it can.
    """

    cohort: str
    sequence: str
    variables: tuple[str, ...]
    fingerprint: str
    files: Mapping[str, int]
    pixels: Mapping[str, int]
    quarantined: Mapping[str, int]
    other: Mapping[str, int]
    cases: Mapping[str, Mapping[str, int]]
    patients: int
    irregular: Mapping[str, int]
    notes: Mapping[str, Any]
    trouble: ConsiliumError | None

    def to_dict(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        trouble = self.trouble
        told = trouble and {"code": trouble.code, "message": trouble.private, "hint": trouble.hint}
        reasons = {
            reason: {"files": files, "hint": hint_of(reason)} for reason, files in self.quarantined.items()
        }
        document = {key: value for key, value in _fields(self).items() if key != "trouble"}
        return {**document, "quarantined": reasons, "usable": trouble is None, "trouble": told}


def overview(cohort: Cohort, quarantine_limit: float) -> Overview:
    """A cohort in counts."""
    by_outcome = {outcome: cohort.of(outcome).total() for outcome in Outcome}
    with_pixels = sum(count.files for count in cohort.files if count.decoded is not None)
    cases: dict[str, Counter[str]] = {}
    for case in cohort.cases:
        cases.setdefault(case.split, Counter())[case.label or "unlabelled"] += 1
    irregular = Counter(code for case in cohort.cases for code in case.content.findings)
    return Overview(
        cohort=cohort.row.name,
        sequence=cohort.row.rules.sequence,
        variables=cohort.row.rules.variables,
        fingerprint=cohort.row.fingerprint,
        files={"seen": cohort.seen, **{str(outcome): files for outcome, files in by_outcome.items()}},
        pixels={
            "with_pixels": with_pixels,
            "decoded": sum(count.files for count in cohort.files if count.decoded),
        },
        quarantined=dict(cohort.of(Outcome.quarantined).most_common()),
        other=dict(cohort.of(Outcome.other).most_common()),
        cases={split: dict(sorted(cases[split].items())) for split in sorted(cases)},
        patients=len({case.patient for case in cohort.cases}),
        irregular=dict(irregular.most_common()),
        notes=cohort.row.notes,
        trouble=_trouble(cohort, quarantine_limit),
    )


def _trouble(cohort: Cohort, quarantine_limit: float) -> ConsiliumError | None:
    try:
        cohort.require_usable(quarantine_limit)
    except ConsiliumError as error:
        return error
    return None


def _fields(found: Overview) -> dict[str, Any]:
    return {name: getattr(found, name) for name in Overview.__slots__}
