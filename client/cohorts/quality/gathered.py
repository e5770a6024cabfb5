"""A cohort as arrays: read once from front to end, so that its pictures need not all be in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.cohorts.quality.facts import CaseFacts
from client.cohorts.quality.likeness import DETAILS, detail
from client.cohorts.quality.picture import BINS, HASH_BYTES, CasePicture

Cases = Sequence[tuple[CaseFacts, CasePicture | None]]
"""Cases with their pictures in small; None for a case that has none, such as a record of measurements."""


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """The numbers of P cases that have pictures.

    Attributes:
        facts: P of them.
        places: (P,) int64, where each stands among all cases.
        histograms: (P, 64) float32.
        means: (P,) float64.
        deviations: (P,) float64.
        fingerprints: (P, 18) uint8.
        details: (P, 1024) int8, see :mod:`client.cohorts.quality.likeness`.
    """

    facts: tuple[CaseFacts, ...]
    places: NDArray[np.int64]
    histograms: NDArray[np.float32]
    means: NDArray[np.float64]
    deviations: NDArray[np.float64]
    fingerprints: NDArray[np.uint8]
    details: NDArray[np.int8]


def gather(cases: Cases) -> tuple[tuple[CaseFacts, ...], Gathered]:
    """The facts of all cases, and the arrays of those that have pictures."""
    every: list[CaseFacts] = []
    facts: list[CaseFacts] = []
    rows: list[tuple[int, float, float]] = []
    histograms, fingerprints, details = [], [], []
    for place, (known, picture) in enumerate(cases):
        every.append(known)
        if picture is None:
            continue
        facts.append(known)
        rows.append((place, picture.mean, picture.sd))
        histograms.append(picture.histogram)
        fingerprints.append(picture.fingerprint)
        details.append(detail(picture.thumbnail))
    numbers = np.array(rows, dtype=np.float64).reshape(len(rows), 3)
    return tuple(every), Gathered(
        facts=tuple(facts),
        places=numbers[:, 0].astype(np.int64),
        histograms=np.array(histograms, dtype=np.float32).reshape(len(rows), BINS),
        means=numbers[:, 1],
        deviations=numbers[:, 2],
        fingerprints=np.array(fingerprints, dtype=np.uint8).reshape(len(rows), HASH_BYTES),
        details=np.array(details, dtype=np.int8).reshape(len(rows), DETAILS),
    )
