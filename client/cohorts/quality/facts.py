"""What the report is told of files and cases: values without a name, a date or a path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from client.dicom.outcomes import Kind, Outcome, Reason

Spacing = tuple[float | None, float | None, float | None]


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """What is known of a case beside its pictures.

    Attributes:
        case: Pseudonym of the case, unique in the cohort.
        patient: Pseudonym of the patient.
        split: ``train``, ``val`` or ``test``; empty where none was given.
        label: None for a case without one.
        modality: Modality (0008,0060) CS; empty if unknown.
        scanner: Manufacturer and model (0008,0070 and 0008,1090 LO); empty if unknown.
        year: Of the acquisition; None if unknown.
        shape: Frames, rows, columns.
        spacing_mm: Between frames, rows, columns, in mm; None for each, or for all, that is unknown.
        findings: Codes of what the intake noticed, such as ``missing-slices``.
        pixel_digests: Digests of the source files' decoded pixels. Cases are copies of each other if they
            share at least half of the shorter list.
    """

    case: str
    patient: str
    split: str = ""
    label: str | None = None
    modality: str = ""
    scanner: str = ""
    year: int | None = None
    shape: tuple[int, int, int] = (1, 1, 1)
    spacing_mm: Spacing | None = None
    findings: tuple[str, ...] = ()
    pixel_digests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileCounts:
    """How many files the intake saw, and what became of them; what is not named counts none.

    Raises:
        ValueError: The outcomes do not add up to the files seen, the reasons to the files in quarantine, or
            the kinds to the other objects.
    """

    seen: int
    outcomes: Mapping[Outcome, int] = field(default_factory=dict)
    reasons: Mapping[Reason, int] = field(default_factory=dict)
    kinds: Mapping[Kind, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sums = (
            ("outcomes", self.outcomes, self.seen),
            ("reasons", self.reasons, self.of(Outcome.quarantined)),
            ("kinds", self.kinds, self.of(Outcome.other)),
        )
        for name, counts, total in sums:
            if sum(counts.values()) != total:
                raise ValueError(f"the counts of {name} add up to {sum(counts.values())}, not to {total}")

    def of(self, outcome: Outcome) -> int:
        """Files with this outcome."""
        return self.outcomes.get(outcome, 0)
