"""How bright the pictures are: the mean of the cases' histograms, for all cases and for each scanner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.cohorts.quality.counts import Dimension, kind_of
from client.cohorts.quality.facts import CaseFacts


@dataclass(frozen=True, slots=True)
class Histogram:
    """Mean histogram of the cases of a scanner; every case counts the same, however many pixels it has.

    Attributes:
        scanner: Its name.
        cases: How many the mean is of.
        shares: 64 shares of pixels from black to white, which add up to 1.
    """

    scanner: str
    cases: int
    shares: tuple[float, ...]


def histograms(cases: Sequence[CaseFacts], rows: NDArray[np.float32]) -> tuple[Histogram, ...]:
    """One mean histogram for each scanner, the scanner with the most cases first.

    Args:
        cases: N cases.
        rows: (N, 64) float32, their histograms.
    """
    members: dict[str, list[int]] = {}
    for index, facts in enumerate(cases):
        members.setdefault(kind_of(facts, Dimension.scanner), []).append(index)
    found = (
        Histogram(name, len(those), tuple(rows[those].mean(axis=0, dtype=np.float64).tolist()))
        for name, those in members.items()
    )
    return tuple(sorted(found, key=lambda h: (-h.cases, h.scanner)))
