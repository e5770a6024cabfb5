"""How masks that somebody drew are laid on the pictures' own grid.

A mask is laid where it lies in the patient, by the nearest of its own pixels; labels are never mixed. It is
never moved, turned or stretched to fit: one that lies elsewhere is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from client.dicom.geometry.planes import dot, normal_of
from client.dicom.place import Plane

PARALLEL_TOLERANCE = 2e-3
"""Sine of the angle up to which planes are parallel: 0.4 mm over half a field of view of 400 mm. Rounding to
four digits stays below 1e-3."""

SAME_PLANE_MM = 1e-2
"""Planes whose first pixels and spacing differ by less are the same, and their pixels are copied."""

Labels = NDArray[np.uint8]


class MaskElsewhere(ValueError):
    """The mask does not lie where the pictures lie."""


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """Labels in planes of the patient.

    Attributes:
        planes: Where each picture of the mask lies; where there is none, there is no label.
        values: (N, H, W) uint8, 0 = nothing, else the label.
        frame_of_reference: Frame of Reference UID (0020,0052) that positions refer to; None where unknown.
        referenced: SOP instance and series UIDs of the pictures it was drawn on; empty where unknown.
        spacing_mm: Distance between planes if the mask states it; a mask may leave empty planes out.
    """

    planes: tuple[Plane, ...]
    values: Labels
    frame_of_reference: str | None = None
    referenced: frozenset[str] = frozenset()
    spacing_mm: float | None = None


def matches(
    mask: Mask,
    planes: Sequence[Plane],
    uids: Iterable[str] = (),
    frame_of_reference: str | None = None,
) -> float:
    """How well a mask belongs to a stack of pictures; the stack with the highest score is its own.

    Args:
        mask: What was drawn.
        planes: Where the slices of the stack lie.
        uids: SOP instance UIDs of the stack's pictures, and its series UID.
        frame_of_reference: Of the pictures; None where unknown.

    Returns:
        0 if it lies elsewhere; else the share of the mask's pictures that lie at a slice, at most 1; and 1
        more if the mask names any of ``uids``.
    """
    named = not mask.referenced.isdisjoint(uids)
    strange = bool(mask.frame_of_reference and frame_of_reference)
    if strange and mask.frame_of_reference != frame_of_reference and not named:
        return 0.0
    turned = _turned(mask, planes)
    hits = set(_nearest(turned, planes)) - {None} if turned else set()
    return float(named) + len(hits) / min(len(turned.planes), len(planes)) if turned and hits else 0.0


def place(mask: Mask, planes: Sequence[Plane], shape: tuple[int, int]) -> Labels:
    """The mask on the pictures' own grid.

    Each pixel of a picture takes the label of the nearest pixel in the nearest plane of the mask, no farther
    off than half the distance between the mask's planes; 0 outside the mask.

    Args:
        mask: What was drawn.
        planes: Where the Z slices lie.
        shape: Their height and width.

    Returns:
        (Z, H, W) uint8.

    Raises:
        MaskElsewhere: The mask's planes are not parallel to the pictures', or the two do not overlap.
    """
    turned = _turned(mask, planes)
    if turned is None:
        raise MaskElsewhere("the mask lies in another direction than the pictures")
    laid: Labels = np.zeros((len(planes), *shape), dtype=np.uint8)
    overlap = False
    for at, nearest in enumerate(_nearest(turned, planes)):
        if nearest is not None:
            overlap |= _lay(turned.planes[nearest], turned.values[nearest], planes[at], laid[at])
    if not overlap:
        raise MaskElsewhere("the mask and the pictures do not overlap")
    return laid


def _lay(source: Plane, labels: Labels, target: Plane, into: Labels) -> bool:
    """Writes one plane's labels into a picture; whether the two overlap at all."""
    if labels.shape == into.shape and _same(source, target):
        into[:] = labels
        return True
    down, right = _affine(source, target)
    rows, columns = np.arange(into.shape[0])[:, None], np.arange(into.shape[1])[None, :]
    row = _whole(down[0] + down[1] * rows + down[2] * columns)
    column = _whole(right[0] + right[1] * rows + right[2] * columns)
    inside = (row >= 0) & (row < labels.shape[0]) & (column >= 0) & (column < labels.shape[1])
    into[inside] = labels[row[inside], column[inside]]
    return bool(inside.any())


def _whole(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Nearest whole numbers; a hair below a half counts as a half, so that rounding errors decide nothing."""
    return np.floor(values + 0.5 + 1e-6).astype(np.int64)


def _same(one: Plane, other: Plane) -> bool:
    """Whether pixels of both lie on each other but for rounding."""
    near = math.dist(one.position_mm, other.position_mm) < SAME_PLANE_MM
    alike = all(abs(a - b) < 1e-4 * b for a, b in zip(one.spacing_mm, other.spacing_mm, strict=True))
    turned = max(math.dist(one.row, other.row), math.dist(one.column, other.column))
    return near and alike and turned < PARALLEL_TOLERANCE


def _affine(source: Plane, target: Plane) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Row and column in ``source`` of pixel (r, c) in ``target``: each a + b r + c c."""
    offset = [at - origin for at, origin in zip(target.position_mm, source.position_mm, strict=True)]
    rows, columns = target.spacing_mm

    def along(axis: Sequence[float], size: float) -> tuple[float, float, float]:
        step_down, step_right = dot(target.column, axis) * rows, dot(target.row, axis) * columns
        return dot(offset, axis) / size, step_down / size, step_right / size

    return along(source.column, source.spacing_mm[0]), along(source.row, source.spacing_mm[1])


def _nearest(mask: Mask, planes: Sequence[Plane]) -> list[int | None]:
    """For each picture the mask's plane that is nearest, or None where none is near enough."""
    normal = normal_of(planes[0])
    places = np.array([dot(plane.position_mm, normal) for plane in mask.planes])
    reach = _thickness(mask, places, planes) / 2 + SAME_PLANE_MM
    found: list[int | None] = []
    for plane in planes:
        off = np.abs(places - dot(plane.position_mm, normal))
        nearest = int(off.argmin())
        found.append(nearest if off[nearest] <= reach else None)
    return found


def _thickness(mask: Mask, places: NDArray[np.float64], planes: Sequence[Plane]) -> float:
    """How thick a plane of the mask is: as stated, as its planes lie, or as the pictures lie, in mm."""
    if mask.spacing_mm:
        return mask.spacing_mm
    normal = normal_of(planes[0])
    for distances in (places, np.array([dot(plane.position_mm, normal) for plane in planes])):
        gaps = np.diff(np.unique(np.round(distances, 3)))
        if gaps.size:
            return float(gaps.min())
    return max(planes[0].spacing_mm)


def _turned(mask: Mask, planes: Sequence[Plane]) -> Mask | None:
    """The mask in planes parallel to the pictures, or None where it cannot be cut so without resampling."""
    if not mask.planes or not planes:
        return None
    wanted = normal_of(planes[0])
    if all(_parallel(normal_of(plane), wanted) for plane in mask.planes):
        return mask
    step = _step(mask.planes)
    if step is None:
        return None
    return next((cut for cut in _cuts(mask, step) if _parallel(normal_of(cut.planes[0]), wanted)), None)


def _parallel(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two unit vectors lie in one line, whichever way they point."""
    return abs(dot(one, other)) >= math.sqrt(1 - PARALLEL_TOLERANCE**2)


def _step(planes: Sequence[Plane]) -> NDArray[np.float64] | None:
    """(3,) mm from each plane to the next if they are a box of even voxels, else None."""
    if len(planes) < 2 or any(not _like(plane, planes[0]) for plane in planes):
        return None
    steps = np.diff(np.array([plane.position_mm for plane in planes]), axis=0)
    even = np.abs(steps - steps[0]).max() < SAME_PLANE_MM
    length = float(np.linalg.norm(steps[0]))
    if not even or length == 0 or not _parallel((steps[0] / length).tolist(), normal_of(planes[0])):
        return None
    mean: NDArray[np.float64] = steps.mean(axis=0)
    return mean


def _like(one: Plane, other: Plane) -> bool:
    return (one.row, one.column, one.spacing_mm) == (other.row, other.column, other.spacing_mm)


def _cuts(mask: Mask, step: NDArray[np.float64]) -> tuple[Mask, Mask]:
    """A box of voxels cut along its rows, and along its columns."""
    first, size = mask.planes[0], float(np.linalg.norm(step))
    x, y, z = (float(part) for part in step / size)
    up = (x, y, z)
    rows, columns = first.spacing_mm
    origin, row, column = (np.array(axis) for axis in (first.position_mm, first.row, first.column))

    def planes(
        direction: NDArray[np.float64],
        distance: float,
        count: int,
        axes: Sequence[tuple[float, float, float]],
    ) -> Iterable[Plane]:
        for at in range(count):
            x, y, z = (float(part) for part in origin + at * distance * direction)
            spacing = (size, columns) if axes[1] is up else (rows, size)
            yield Plane((x, y, z), axes[0], axes[1], spacing)

    _, height, width = mask.values.shape
    along_rows = tuple(planes(column, rows, height, (first.row, up)))
    along_columns = tuple(planes(row, columns, width, (up, first.column)))
    return (
        replace(mask, planes=along_rows, values=mask.values.transpose(1, 0, 2), spacing_mm=rows),
        replace(mask, planes=along_columns, values=mask.values.transpose(2, 1, 0), spacing_mm=columns),
    )
