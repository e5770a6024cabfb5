"""A case as it is stored: which arrays it is made of, in which order, and what is known of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from client.dicom.pixels import Display


@dataclass(frozen=True, slots=True)
class Piece:
    """One picture of a case.

    Attributes:
        blob: Digest of the array that holds it.
        frame: Its place in that array.
        display: Its place in the case's displays.
    """

    blob: str
    frame: int
    display: int = 0


@dataclass(frozen=True, slots=True)
class Content:
    """What a case is made of.

    Attributes:
        pieces: Its pictures in the order of its steps. A record has one, whose array is
            (T, 1 + V) float64: the time, then each variable, NaN where it was not measured.
        displays: How pieces become brightness; one, unless the scanner rescaled each slice by itself.
        spacing_mm: Between steps, rows and columns; None where that is not known.
        mask: Digest of a (T, H, W) uint8 array of segment numbers, empty if there is none.
        modality: Modality (0008,0060); empty for records.
        scanner: As of :class:`~client.dicom.instance.Instance`.
        year: Of the acquisition, or None.
        sex: F, M or O; empty if unknown.
        age: A band of :mod:`client.ages`; empty if unknown.
        findings: Codes of what is odd about its geometry.
        sources: SHA-256 of the files that it was read from, in the order of the pieces, each once.
    """

    pieces: tuple[Piece, ...]
    displays: tuple[Display, ...] = ()
    spacing_mm: tuple[float | None, float | None, float | None] = (None, None, None)
    mask: str = ""
    modality: str = ""
    scanner: str = ""
    year: int | None = None
    sex: str = ""
    age: str = ""
    findings: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        stored: dict[str, Any] = _CONTENT.dump_python(self, mode="json")
        return stored

    @classmethod
    def of_json(cls, document: Any) -> Content:
        """What :meth:`to_json` gave."""
        return _CONTENT.validate_python(document)


_CONTENT: TypeAdapter[Content] = TypeAdapter(Content)


@dataclass(frozen=True, slots=True)
class Case:
    """One training record of a cohort.

    Attributes:
        name: Short and stable, for messages; from pseudonyms.
        patient: Pseudonym.
        split: train, val or test.
        label: As the table of labels has it; None if it has none.
        content: What it is made of.
        intake: Number of the intake in which it first stood as it is.
    """

    name: str
    patient: str
    split: str
    label: str | None
    content: Content
    intake: int = 0

    @property
    def digest(self) -> str:
        """SHA-256 of everything that training sees of the case, in hexadecimal."""
        seen = {**self.content.to_json(), "split": self.split, "label": self.label, "patient": self.patient}
        for aside in ("sources", "findings", "scanner", "year", "sex", "age"):
            del seen[aside]
        return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()


def name_of(*parts: str) -> str:
    """``C-`` and twelve digits by which a case is known again, from the pseudonyms that make it."""
    return "C-" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def fingerprint(cases: Sequence[Case]) -> str:
    """SHA-256 of all cases whatever their order, in hexadecimal: the same for the same cohort."""
    digests = sorted(case.digest for case in cases)
    return hashlib.sha256("".join(digests).encode()).hexdigest()
