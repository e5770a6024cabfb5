"""Which pictures of a series belong to one stack: the same size, spacing, direction, stack and station.

Pictures are compared in an order of their own, so the files' order changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from client.dicom.geometry.planes import dot, normal_of
from client.dicom.geometry.slices import SAME_PLACE_MM
from client.dicom.place import Frame, Plane

ORIENTATION_TOLERANCE_DEGREES = 1.0
"""Slices of one stack are parallel but for rounding (three digits: 0.1 degrees) and prospective motion
correction (below 1); nobody sets slices of different stacks that close."""

SPACING_TOLERANCE = 0.01
"""Relative. Pixel spacing is written with three digits and more; 1 % is 2 pixels over a picture of 256."""

STATION_TOLERANCE_MM = 10.0
"""Slices of one stack over each other stay this close within the plane; stations of a whole-body scan lie
a field of view apart."""

Shape = tuple[int, int]


def alike(frames: Sequence[Frame], shapes: Sequence[Shape] | None) -> list[list[int]]:
    """The frames in groups, each of one size, stack, spacing and direction.

    Args:
        frames: All frames of a series.
        shapes: Height and width of each picture, where they may differ.

    Returns:
        Indices into ``frames``: every one exactly once, in an order that does not depend on theirs.
    """

    def same(one: int, other: int) -> bool:
        known = shapes is None or shapes[one] == shapes[other]
        return known and _together(frames[one], frames[other])

    in_order = sorted(range(len(frames)), key=lambda index: _order(frames[index]))
    return [part for group in clustered(in_order, same) for part in _stations(frames, group)]


def clustered(members: Iterable[int], same: Callable[[int, int], bool]) -> list[list[int]]:
    """The members in groups, each like the first of its group."""
    groups: list[list[int]] = []
    for member in members:
        home = next((group for group in groups if same(group[0], member)), None)
        if home is None:
            groups.append([member])
        else:
            home.append(member)
    return groups


def _order(frame: Frame) -> tuple[object, ...]:
    """A key that sorts frames by what they say and not by where they stand."""
    plane = frame.plane
    place = (plane.row, plane.column, plane.spacing_mm, plane.position_mm) if plane else ()
    return (frame.stack, plane is None, place, frame.spacing_mm or (), frame.time, frame.number)


def _together(one: Frame, other: Frame) -> bool:
    """Whether two frames may belong to the same stack."""
    if one.stack != other.stack or (one.plane is None) != (other.plane is None):
        return False
    if not same_spacing(one.spacing_mm, other.spacing_mm):
        return False
    return one.plane is None or other.plane is None or parallel(one.plane, other.plane)


def same_spacing(one: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    """Whether two spacings are the same but for rounding, or are both unknown."""
    if one is None or other is None:
        return one is other
    return all(math.isclose(a, b, rel_tol=SPACING_TOLERANCE) for a, b in zip(one, other, strict=True))


def parallel(one: Plane, other: Plane) -> bool:
    """Whether both axes point the same way but for rounding."""
    least = math.cos(math.radians(ORIENTATION_TOLERANCE_DEGREES))
    return dot(one.row, other.row) >= least and dot(one.column, other.column) >= least


def _stations(frames: Sequence[Frame], group: list[int]) -> list[list[int]]:
    """The group in its stations: pictures side by side in one plane are no moments of one place.

    A tilted gantry moves slices within the plane as well, evenly along the normal; that even part is taken
    out by least squares before it is judged whether any lies beside the others.
    """
    planes = [plane for index in group if (plane := frames[index].plane) is not None]
    if not planes:
        return [group]
    axes = np.array([planes[0].row, planes[0].column, normal_of(planes[0])])
    places = np.array([plane.position_mm for plane in planes]) @ axes.T
    within = {index: (float(place[0]), float(place[1])) for index, place in zip(group, places, strict=True)}
    centred = places - places.mean(axis=0)
    spread = float(centred[:, 2] @ centred[:, 2])
    slope = centred[:, 2] @ centred[:, :2] / spread if spread > SAME_PLACE_MM else np.zeros(2)
    off = np.linalg.norm(centred[:, :2] - np.outer(centred[:, 2], slope), axis=1)
    if off.max() <= STATION_TOLERANCE_MM:
        return [group]
    return clustered(group, lambda one, other: math.dist(within[one], within[other]) <= STATION_TOLERANCE_MM)
