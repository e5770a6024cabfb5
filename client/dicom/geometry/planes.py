"""The plane that a picture lies in, from the values that say so; None where they contradict themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydicom.dataset import Dataset

from client.dicom.dataset.elements import item, number, numbers
from client.dicom.dataset.groups import Groups
from client.dicom.place import Plane, Vector

AXIS_TOLERANCE = 5e-3
"""How far the two axes may be from unit length and from a right angle. Scanners write three or more digits,
which gives errors below 2e-3; axes that are wrong are wrong by far more."""

MAX_POSITION_MM = 1e5
"""A position farther away (100 m) is no place in a patient."""

MAX_SPACING_MM = 1e3
"""Pixels larger than a metre do not exist."""


def plane_of(
    position: Sequence[float], orientation: Sequence[float], spacing: Sequence[float]
) -> Plane | None:
    """The plane of these values, its axes made unit length; None unless all three are there and sound.

    Args:
        position: (0020,0032) Image Position (Patient), DS, 3 values in mm.
        orientation: (0020,0037) Image Orientation (Patient), DS, 6 cosines.
        spacing: (0028,0030) Pixel Spacing, DS, mm between rows and between columns.
    """
    sound = spacing_of(spacing)
    if sound is None or len(position) != 3 or len(orientation) != 6:
        return None
    row, column = _unit(orientation[:3]), _unit(orientation[3:])
    if row is None or column is None or abs(dot(row, column)) > AXIS_TOLERANCE:
        return None
    if max(map(abs, position)) > MAX_POSITION_MM:
        return None
    return Plane((position[0], position[1], position[2]), row, column, sound)


def spacing_of(values: Sequence[float]) -> tuple[float, float] | None:
    """Two spacings in mm, or None unless both are sizes that a pixel can have."""
    if len(values) != 2 or not all(0 < value <= MAX_SPACING_MM for value in values):
        return None
    return values[0], values[1]


def _unit(vector: Sequence[float]) -> Vector | None:
    """The vector at length 1, or None where it is too far from it to be a direction cosine."""
    length = math.hypot(*vector)
    if abs(length - 1) > AXIS_TOLERANCE:
        return None
    return vector[0] / length, vector[1] / length, vector[2] / length


def dot(one: Sequence[float], other: Sequence[float]) -> float:
    """The scalar product of two vectors."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def normal_of(plane: Plane) -> Vector:
    """Row x column: the unit vector at right angles to the plane."""
    (a, b, c), (d, e, f) = plane.row, plane.column
    return b * f - c * e, c * d - a * f, a * e - b * d


def moved(plane: Plane, distance_mm: float) -> Plane:
    """The plane, moved along its normal."""
    x, y, z = (
        at + distance_mm * along for at, along in zip(plane.position_mm, normal_of(plane), strict=True)
    )
    return Plane((x, y, z), plane.row, plane.column, plane.spacing_mm)


def stated(groups: Groups, alone: bool) -> Plane | None:
    """The plane that a frame's functional groups or the dataset state, or None.

    Args:
        groups: What holds for the frame.
        alone: Whether a position of the whole dataset holds for this frame: it is the only one, or all
            frames are moments of one place.
    """
    position = numbers(groups.macro("PlanePositionSequence"), "ImagePositionPatient", 3)
    if not position and alone:
        position = numbers(groups.dataset, "ImagePositionPatient", 3)
    return plane_of(
        position,
        groups.numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6),
        groups.numbers("PixelMeasuresSequence", "PixelSpacing", 2),
    )


def dose_planes(dataset: Dataset, count: int) -> list[Plane | None]:
    """The planes of a dose grid: Grid Frame Offset Vector (3004,000C), mm along the normal.

    Offsets are relative to the position where the first is 0, else they are the patient's z of each plane
    (PS3.3 C.8.8.3.2); their differences are the same.
    """
    offsets = numbers(dataset, "GridFrameOffsetVector", count)
    first = stated(Groups(None, None, dataset), alone=True)
    if first is None or not offsets:
        return [first] if count == 1 else [None] * count
    return [moved(first, offset - offsets[0]) for offset in offsets]


def nuclear_planes(dataset: Dataset, count: int) -> list[Plane | None]:
    """The planes of a reconstructed nuclear-medicine volume: Slice Vector (0054,0080) and its first slice.

    Position and orientation stand in Detector Information Sequence (0054,0022); Spacing Between Slices
    (0018,0088) may be negative there (PS3.3 C.8.4.15).
    """
    detector = item(dataset, "DetectorInformationSequence")
    slices, between = numbers(dataset, "SliceVector", count), number(dataset, "SpacingBetweenSlices")
    first = plane_of(
        numbers(detector, "ImagePositionPatient", 3) or numbers(dataset, "ImagePositionPatient", 3),
        numbers(detector, "ImageOrientationPatient", 6) or numbers(dataset, "ImageOrientationPatient", 6),
        numbers(dataset, "PixelSpacing", 2),
    )
    if first is None or not slices or not between:
        return [None] * count
    return [moved(first, (place - 1) * between) for place in slices]
