"""How large the pictures are, in pixels and in millimetres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from client.cohorts.quality.facts import CaseFacts, Spacing

LEVELS = (0.0, 0.05, 0.5, 0.95, 1.0)
_NOTHING: Spacing = (None, None, None)


@dataclass(frozen=True, slots=True)
class Quantiles:
    """How a measure is spread over the cases that state it.

    Attributes:
        name: What is measured, with its unit.
        known: Cases that state it.
        values: Least, 5 %, median, 95 %, greatest.
    """

    name: str
    known: int
    values: tuple[float, float, float, float, float]


def spacing_of(facts: CaseFacts) -> Spacing:
    """Between frames, rows, columns in mm; what is not above zero is unknown."""
    first, second, third = (
        mm if mm is not None and 0 < mm < float("inf") else None for mm in facts.spacing_mm or _NOTHING
    )
    return first, second, third


def sizes(cases: Sequence[CaseFacts]) -> tuple[Quantiles, ...]:
    """The spread of frames, rows, columns and spacings; a measure that no case states is left out."""
    spacings = [spacing_of(facts) for facts in cases]
    measures: Mapping[str, Sequence[float | None]] = {
        "frames": [facts.shape[0] for facts in cases],
        "rows (pixels)": [facts.shape[1] for facts in cases],
        "columns (pixels)": [facts.shape[2] for facts in cases],
        "between frames (mm)": [spacing[0] for spacing in spacings],
        "between rows (mm)": [spacing[1] for spacing in spacings],
        "between columns (mm)": [spacing[2] for spacing in spacings],
    }
    return tuple(_quantiles(name, values) for name, values in measures.items() if any(v for v in values))


def _quantiles(name: str, values: Sequence[float | None]) -> Quantiles:
    known = [value for value in values if value is not None]
    low, lower, middle, upper, high = np.quantile(known, LEVELS).tolist()
    return Quantiles(name, len(known), (low, lower, middle, upper, high))
