"""How far a cohort has moved from an earlier one.

Population stability index, PSI = sum over classes of (p - q) ln(p / q), and for brightness also the
Kolmogorov-Smirnov distance, the farthest that the two cumulated histograms are apart. PSI below 0.1 is
commonly read as no change and above 0.25 as a great one (Siddiqi 2006, "Credit risk scorecards"). That holds
for large cohorts only: two samples of n and m from the same population have PSI around
sum of s^2 (1/n + 1/m) / q, with s^2 the variance of a case's share; for B classes that is (B - 1)(1/n + 1/m)
(Yurdakul and Naranjo 2020). A move that chance alone makes in one of twenty such samples is not called one.
Samples are counted in patients: further pictures of the same patient say little that is new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from client.cohorts.quality.reference import Reference

MOVED, FAR = 0.1, 0.25
_FAR_KS = 0.2
_Z95 = 1.645


class Level(StrEnum):
    """How much a thing has moved."""

    steady = "steady"
    uncertain = "uncertain"  # it looks moved, but chance moves so few patients as much
    moved = "moved"
    far = "far"


@dataclass(frozen=True, slots=True)
class Shift:
    """How far one thing has moved.

    Attributes:
        what: ``brightness``, ``labels``, ``modalities``, ``scanners``, ``sizes`` or ``lengths``.
        measure: ``PSI`` or ``KS``.
        value: The measure.
        chance: What chance alone stays below in 19 of 20 samples as large as these.
        level: What that means.
        most: The classes that moved most, with their share then and now; empty for brightness.
    """

    what: str
    measure: str
    value: float
    chance: float
    level: Level
    most: tuple[tuple[str, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Drift:
    """How far a cohort has moved from ``then``."""

    then: Reference
    shifts: tuple[Shift, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """Shares in B classes: (B,) float64 sums and sums of squares over ``number`` cases of ``patients``."""

    sums: NDArray[np.float64]
    squares: NDArray[np.float64]
    number: int
    patients: int

    @property
    def shares(self) -> NDArray[np.float64]:
        """(B,) float64 that add up to 1, none of them 0: one case more, spread evenly over the classes."""
        return (self.sums + 1 / len(self.sums)) / (self.number + 1)


def drift(now: Reference, then: Reference) -> Drift:
    """How far ``now`` has moved from ``then``; a thing that either does not know is left out."""
    shifts: list[Shift] = []
    if now.pictured and then.pictured:
        shifts += _brightness(_pictures(now), _pictures(then))
    if now.cases and then.cases:
        for what in ("labels", "modalities", "scanners", "sizes", "lengths"):
            shifts.append(_classes(what, now, then))
    return Drift(then, tuple(shifts))


def psi(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Population stability index of shares that add up to 1 and are above 0; 0 if they are the same."""
    return float(((p - q) * np.log(p / q)).sum())


def _brightness(now: _Sample, then: _Sample) -> list[Shift]:
    value = psi(now.shares, then.shares)
    # The steps of a histogram move together; at worst all of them as one.
    chance = _expected(now, then) * _chi_square_95(1)
    apart = float(np.abs(np.cumsum(now.sums / now.number) - np.cumsum(then.sums / then.number)).max())
    ks_chance = 1.36 * sqrt(1 / now.patients + 1 / then.patients)  # Smirnov 1948, two samples at 5 %
    return [
        Shift("brightness", "PSI", value, chance, _level(value, chance, FAR)),
        Shift("brightness", "KS", apart, ks_chance, _level(apart, ks_chance, _FAR_KS)),
    ]


def _classes(what: str, now: Reference, then: Reference) -> Shift:
    ours, theirs = getattr(now, what), getattr(then, what)
    names = sorted({*ours, *theirs})
    new, old = _counted(names, ours, now), _counted(names, theirs, then)
    value, freedom = psi(new.shares, old.shares), max(len(names) - 1, 1)
    chance = _expected(new, old) * _chi_square_95(freedom) / freedom
    most = _most(names, new.sums / new.number, old.sums / old.number)
    return Shift(what, "PSI", value, chance, _level(value, chance, FAR), most)


def _pictures(reference: Reference) -> _Sample:
    sums, squares = np.array(reference.brightness), np.array(reference.squares)
    return _Sample(sums, squares, reference.pictured, max(min(reference.patients, reference.pictured), 1))


def _counted(names: Sequence[str], counts: Mapping[str, int], reference: Reference) -> _Sample:
    sums = np.array([counts.get(name, 0) for name in names], dtype=np.float64)
    return _Sample(sums, sums, reference.cases, max(reference.patients, 1))


def _expected(now: _Sample, then: _Sample) -> float:
    """PSI that two samples as large as these of one population, that of both together, have on average."""
    number = now.number + then.number
    mean = (now.sums + then.sums) / number
    variance = np.maximum((now.squares + then.squares) / number - mean * mean, 0.0)
    chance = variance * (1 / now.patients + 1 / then.patients)
    return float((chance / ((now.shares + then.shares) / 2)).sum())


def _chi_square_95(freedom: int) -> float:
    """95 % of chi-square lie below this (Wilson and Hilferty 1931)."""
    spread = 2 / (9 * freedom)
    return freedom * (1 - spread + _Z95 * sqrt(spread)) ** 3


def _level(value: float, chance: float, far: float) -> Level:
    if value < MOVED:
        return Level.steady
    if value <= chance:
        return Level.uncertain
    return Level.far if value >= far else Level.moved


def _most(
    names: Sequence[str], now: NDArray[np.float64], then: NDArray[np.float64]
) -> tuple[tuple[str, float, float], ...]:
    order = np.argsort(-np.abs(now - then), kind="stable")[:3]
    return tuple((names[i], float(then[i]), float(now[i])) for i in order if abs(now[i] - then[i]) > 0.005)
