"""Cases that stand apart from the others of their modality, by brightness, contrast, size or spacing.

By the modified z-score z = (x - median) / (1.4826 MAD), with MAD the median absolute deviation; where more
than half of the values are the same, so that MAD is 0, by (x - median) / (1.2533 mean absolute deviation).
Both from Iglewicz and Hoaglin 1993, "How to detect and handle outliers".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from client.cohorts.quality.facts import CaseFacts
from client.cohorts.quality.gathered import Gathered
from client.cohorts.quality.sizes import spacing_of

APART = 5.0
"""Modified z-score beyond which a case stands apart; 3.5, as in the source, is too low for skewed values."""

MIXED = 0.05
"""Where more than this share stands apart by a figure, the group is a mixture and nothing in it is odd."""

FEWEST = 20
BLANK_SD = 0.005


class Figure(StrEnum):
    """What a case can stand apart by."""

    blank = "blank"
    brightness = "brightness"
    contrast = "contrast"
    size = "size"
    frames = "frames"
    frame_spacing = "frame-spacing"
    pixel_spacing = "pixel-spacing"


@dataclass(frozen=True, slots=True)
class Oddity:
    """By what a case stands apart.

    Attributes:
        figure: Which.
        value: The case's own.
        typical: Median of its group.
        score: Modified z-score; infinite for a blank picture.
    """

    figure: Figure
    value: float
    typical: float
    score: float


@dataclass(frozen=True, slots=True)
class Outlier:
    """A case that stands apart, the strongest oddity first."""

    facts: CaseFacts
    oddities: tuple[Oddity, ...]


_LOGARITHMIC = frozenset({Figure.size, Figure.frames, Figure.frame_spacing, Figure.pixel_spacing})


def outliers(cases: Sequence[CaseFacts], gathered: Gathered) -> tuple[Outlier, ...]:
    """The cases that stand apart, the farthest first.

    Args:
        cases: All cases.
        gathered: Those of them that have pictures.
    """
    figures = _figures(cases, gathered)
    odd: dict[int, list[Oddity]] = {}
    for place, value in zip(gathered.places.tolist(), gathered.deviations.tolist(), strict=True):
        if value < BLANK_SD:
            odd[place] = [Oddity(Figure.blank, value, float(np.median(gathered.deviations)), float("inf"))]
    for members in _groups(cases):
        for figure, values in figures.items():
            for place, oddity in _apart(figure, members, values):
                if place not in odd or odd[place][0].figure is not Figure.blank:
                    odd.setdefault(place, []).append(oddity)
    found = (
        Outlier(cases[place], tuple(sorted(those, key=lambda o: (-abs(o.score), o.figure))))
        for place, those in odd.items()
    )
    return tuple(sorted(found, key=lambda o: (-abs(o.oddities[0].score), o.facts.case)))


def scores(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Modified z-scores; all 0 where every value is the same.

    Args:
        values: (N,) float64, without NaN.
    """
    apart = values - np.median(values)
    scale = 1.4826 * float(np.median(np.abs(apart))) or 1.2533 * float(np.abs(apart).mean())
    return apart / scale if scale > 0 else np.zeros_like(apart)


def _groups(cases: Sequence[CaseFacts]) -> list[NDArray[np.int64]]:
    """Places of the cases of each modality that has enough of them to say what is usual."""
    members: dict[str, list[int]] = {}
    for place, facts in enumerate(cases):
        members.setdefault(facts.modality, []).append(place)
    return [np.array(those) for those in members.values() if len(those) >= FEWEST]


def _figures(cases: Sequence[CaseFacts], gathered: Gathered) -> Mapping[Figure, NDArray[np.float64]]:
    """(N,) float64 for each figure, NaN where a case does not state it."""
    blank = np.full(len(cases), np.nan)
    means, deviations = blank.copy(), blank.copy()
    means[gathered.places], deviations[gathered.places] = gathered.means, gathered.deviations
    spacings = np.array([spacing_of(f) for f in cases], dtype=np.float64).reshape(len(cases), 3)
    return {
        Figure.brightness: means,
        Figure.contrast: deviations,
        Figure.size: np.array([float(f.shape[1] * f.shape[2]) ** 0.5 for f in cases]),
        Figure.frames: np.array([float(f.shape[0]) for f in cases]),
        Figure.frame_spacing: spacings[:, 0],
        Figure.pixel_spacing: np.sqrt(spacings[:, 1] * spacings[:, 2]),
    }


def _apart(
    figure: Figure, members: NDArray[np.int64], values: NDArray[np.float64]
) -> list[tuple[int, Oddity]]:
    """Who in a group stands apart by a figure; nobody if the group is a mixture or few state it."""
    known = members[np.isfinite(values[members]) & ((figure not in _LOGARITHMIC) | (values[members] > 0))]
    if len(known) < FEWEST:
        return []
    own = values[known]
    found = scores(np.log(own) if figure in _LOGARITHMIC else own)
    far = np.flatnonzero(np.abs(found) > APART)
    if len(far) > MIXED * len(known):
        return []
    typical = float(np.median(own))
    return [(int(known[i]), Oddity(figure, float(own[i]), typical, float(found[i]))) for i in far]
