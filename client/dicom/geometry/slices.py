"""The places of a stack's slices along their normal, and what is irregular about them.

A place is measured as d = p . n: the position p of the first pixel (0020,0032) on the unit normal
n = row x column (0020,0037), mean of all slices. Neither Slice Location (0020,1041) nor the order of the
files is asked.

n points to the side where its greatest component is positive, in DICOM's axes: toward the head for axial
slices, the back for coronal, the left for sagittal ones. Every site therefore reads a volume the same way
round, whichever way it was scanned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.dicom.geometry.findings import Finding, Irregularity
from client.dicom.geometry.planes import normal_of
from client.dicom.place import Plane

SAME_PLACE_MM = 0.01
"""Positions closer than this are one: text and rounding of a scanner differ by less, slices by more."""

UNEVEN_TOLERANCE = 0.02
"""Relative. Tables stop within 0.1 mm, which is 2 % of the 5 mm that thick slices are apart."""

WHOLE_GAP_TOLERANCE = 0.1
"""A gap this close to a multiple of the usual distance is one where slices are missing."""

TILT_TOLERANCE_DEGREES = 0.5
"""A volume that leans less is off by less than a hundredth of its height."""

SHIFT_TOLERANCE_MM = 1.0
"""A slice farther than this from the line through the others shows other tissue in the same pixel."""

ANISOTROPY = 3.0
"""From here on spacing is treated as anisotropic (Isensee et al. 2021, nnU-Net, Supplementary Note 2)."""

TIE = 1e-6
"""Components of a normal that differ by less are the same, and z goes before y before x."""


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """The distinct places of a stack.

    Attributes:
        places: For each picture, the number of its place, from 0 along the normal.
        distances_mm: (Z,) float64, one for each place, increasing.
        positions_mm: (Z, 3) float64, the first pixel of the first picture at each place.
        normal: (3,) float64, unit length.
    """

    places: tuple[int, ...]
    distances_mm: NDArray[np.float64]
    positions_mm: NDArray[np.float64]
    normal: NDArray[np.float64]

    @property
    def gaps_mm(self) -> NDArray[np.float64]:
        """(Z - 1,) float64, from each place to the next."""
        return np.diff(self.distances_mm)

    @property
    def usual_gap_mm(self) -> float:
        """The median distance, the lower one of two; 0 for a single place."""
        gaps = np.sort(self.gaps_mm)
        return float(gaps[(len(gaps) - 1) // 2]) if len(gaps) else 0.0


def slices_of(planes: Sequence[Plane]) -> Slices:
    """Where the planes of one stack lie along their common normal."""
    normal = common_normal(planes)
    positions = np.array([plane.position_mm for plane in planes], dtype=np.float64)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    starts = np.concatenate(([True], np.diff(along[order]) > SAME_PLACE_MM))
    numbers = np.empty(len(planes), dtype=np.int64)
    numbers[order] = np.cumsum(starts) - 1
    first = order[starts]
    return Slices(tuple(int(number) for number in numbers), along[first], positions[first], normal)


def common_normal(planes: Sequence[Plane]) -> NDArray[np.float64]:
    """(3,) float64: the mean normal of parallel planes, its greatest component positive."""
    mean = np.mean(np.array([normal_of(plane) for plane in planes], dtype=np.float64), axis=0)
    mean /= np.linalg.norm(mean)
    sizes = np.abs(mean)
    leading = max(axis for axis in range(3) if sizes[axis] >= sizes.max() - TIE)
    unit: NDArray[np.float64] = mean if mean[leading] > 0 else -mean
    return unit


def irregularities(slices: Slices, spacing_mm: tuple[float, float]) -> tuple[Finding, ...]:
    """What is irregular about the places of a stack.

    Args:
        slices: Its places.
        spacing_mm: Between rows, between columns.
    """
    if len(slices.distances_mm) < 2:
        return ()
    return (*_gaps(slices), *_lean(slices), *_anisotropy(slices, spacing_mm))


def _gaps(slices: Slices) -> list[Finding]:
    """Gaps as wide as several slices, and other gaps that are not like the rest."""
    usual, gaps = slices.usual_gap_mm, slices.gaps_mm
    multiples = np.rint(gaps / usual)
    whole = (np.abs(gaps / usual - multiples) <= WHOLE_GAP_TOLERANCE) & (multiples > 1)
    missing = [
        Finding(Irregularity.missing_slices, (float(multiples[at] - 1), float(at)))
        for at in np.flatnonzero(whole)
    ]
    near = gaps[~whole]
    slack = max(UNEVEN_TOLERANCE * usual, 2 * SAME_PLACE_MM)
    if near.size and np.abs(near - usual).max() > slack:
        missing.append(Finding(Irregularity.uneven_spacing, (_short(near.min()), _short(near.max()))))
    return missing


def _lean(slices: Slices) -> list[Finding]:
    """Whether the slices are stacked at right angles, and in a line."""
    way = slices.positions_mm[-1] - slices.positions_mm[0]
    height = float(way @ slices.normal)
    tilt = math.degrees(math.acos(min(1.0, height / float(np.linalg.norm(way)))))
    share = (slices.distances_mm - slices.distances_mm[0]) / height
    off = np.linalg.norm(slices.positions_mm - slices.positions_mm[0] - np.outer(share, way), axis=1).max()
    found = []
    if tilt > TILT_TOLERANCE_DEGREES:
        found.append(Finding(Irregularity.gantry_tilt, (round(tilt, 2),)))
    if off > SHIFT_TOLERANCE_MM:
        found.append(Finding(Irregularity.shifted_slices, (_short(off),)))
    return found


def _anisotropy(slices: Slices, spacing_mm: tuple[float, float]) -> list[Finding]:
    sizes = (slices.usual_gap_mm, *spacing_mm)
    ratio = max(sizes) / min(sizes)
    return [Finding(Irregularity.anisotropic, (round(ratio, 2),))] if ratio > ANISOTROPY else []


def _short(millimetres: float) -> float:
    return round(float(millimetres), 3)
