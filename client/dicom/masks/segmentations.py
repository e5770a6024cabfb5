"""Masks out of DICOM segmentations (PS3.3 A.51): BINARY, a frame for each segment and plane, and LABELMAP."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from client.dicom.dataset.elements import items, number, text
from client.dicom.dataset.groups import groups_of
from client.dicom.geometry.frames import frames_of
from client.dicom.masks.laying import Labels, Mask
from client.dicom.outcomes import Quarantined, Reason
from client.dicom.place import Frame, Plane

MAX_LABEL = 255
"""Labels are kept in a byte."""


def seg_mask(dataset: Dataset, frames: NDArray[np.integer]) -> Mask:
    """The mask that a segmentation holds.

    Args:
        dataset: The segmentation.
        frames: (N, H, W) its pictures as stored: 0 and 1 if BINARY, labels if LABELMAP.

    Returns:
        One plane for each place, its values segment numbers (0062,0004).

    Raises:
        Quarantined: It is fractional, its segments overlap, its frames have no place, or are not those that
            the header lists.
    """
    kind = text(dataset, "SegmentationType")
    if kind not in ("BINARY", "LABELMAP"):
        raise Quarantined(Reason.mask_unread, "neither a binary segmentation nor a label map")
    listed = items(dataset, "PerFrameFunctionalGroupsSequence")
    if len(listed) != len(frames):
        raise Quarantined(Reason.inconsistent, f"{len(frames)} frames, and {len(listed)} in the header")
    placed = frames_of(dataset, len(frames))
    if kind == "LABELMAP":
        planes, values = _label_map(placed, frames)
    else:
        planes, values = _segments(placed, frames)
    return Mask(
        planes,
        values,
        frame_of_reference=text(dataset, "FrameOfReferenceUID") or None,
        referenced=frozenset(_referenced(dataset)),
        spacing_mm=_between(dataset),
    )


def _plane(frame: Frame) -> Plane:
    """Where the frame lies.

    Raises:
        Quarantined: Nobody knows.
    """
    if frame.plane is None:
        raise Quarantined(Reason.mask_unread, "a frame without place")
    return frame.plane


def _label_map(placed: tuple[Frame, ...], frames: NDArray[np.integer]) -> tuple[tuple[Plane, ...], Labels]:
    """Planes and values of a label map."""
    if frames.size and not 0 <= int(frames.min()) <= int(frames.max()) <= MAX_LABEL:
        raise Quarantined(Reason.mask_unread, f"labels above {MAX_LABEL}")
    planes = tuple(_plane(frame) for frame in placed)
    if len({_key(plane) for plane in planes}) != len(planes):
        raise Quarantined(Reason.mask_unread, "two label maps at one place")
    return planes, np.ascontiguousarray(frames, dtype=np.uint8)


def _segments(placed: tuple[Frame, ...], frames: NDArray[np.integer]) -> tuple[tuple[Plane, ...], Labels]:
    """Planes and values of a binary segmentation, the segments of each place in one picture."""
    planes: dict[tuple[float, ...], Plane] = {}
    for frame in placed:
        planes.setdefault(_key(_plane(frame)), _plane(frame))
    at = {key: number for number, key in enumerate(planes)}
    values: Labels = np.zeros((len(planes), *frames.shape[1:]), dtype=np.uint8)
    for frame, picture in zip(placed, frames, strict=True):
        if not 0 < frame.segment <= MAX_LABEL:
            raise Quarantined(Reason.mask_unread, f"a segment number outside 1 to {MAX_LABEL}")
        layer, drawn = values[at[_key(_plane(frame))]], picture != 0
        if (layer[drawn] != 0).any():
            raise Quarantined(Reason.mask_unread, "segments overlap")
        layer[drawn] = frame.segment
    return tuple(planes.values()), values


def _key(plane: Plane) -> tuple[float, ...]:
    """What frames of one place share: a position to 0.01 mm and a direction to 1e-4."""
    axes = (round(part, 4) + 0.0 for part in (*plane.row, *plane.column))
    return (*(round(part, 2) + 0.0 for part in plane.position_mm), *axes)


def _between(dataset: Dataset) -> float | None:
    """Spacing Between Slices (0018,0088) DS, mm, of the planes; None where it is not stated."""
    first = groups_of(dataset, 1)[0]
    stated = number(first.macro("PixelMeasuresSequence"), "SpacingBetweenSlices")
    return stated if stated is not None and stated > 0 else None


def _referenced(dataset: Dataset) -> Iterator[str]:
    """UIDs of the series and instances that the segmentation was drawn on."""
    for series in items(dataset, "ReferencedSeriesSequence"):
        yield from filter(None, (text(series, "SeriesInstanceUID"),))
        for instance in items(series, "ReferencedInstanceSequence"):
            yield from filter(None, (text(instance, "ReferencedSOPInstanceUID"),))
    for frame in items(dataset, "PerFrameFunctionalGroupsSequence"):
        for derivation in items(frame, "DerivationImageSequence"):
            for source in items(derivation, "SourceImageSequence"):
                yield from filter(None, (text(source, "ReferencedSOPInstanceUID"),))
