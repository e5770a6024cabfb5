"""The place of every frame of an object, classic or enhanced; what is not known is absent."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pydicom.dataset import Dataset

from client.dicom.dataset.elements import number, numbers, text
from client.dicom.dataset.groups import Groups, groups_of
from client.dicom.dataset.header import holds
from client.dicom.geometry.moments import film_of, moments_of
from client.dicom.geometry.mosaics import is_mosaic, mosaic_of
from client.dicom.geometry.planes import dose_planes, nuclear_planes, stated
from client.dicom.geometry.spacing import pixel_spacing
from client.dicom.place import Frame, Plane

VIEWS = frozenset(
    ("CR", "DX", "MG", "PX", "IO", "DG", "RG", "XA", "RF", "US", "IVUS", "ES", "XC", "GM", "SM", "OP")
)
"""Modalities whose pictures without a plane are views of their own, not slices of something."""


def frames_of(dataset: Dataset, count: int) -> tuple[Frame, ...]:
    """One frame for each picture that was decoded from the object.

    Args:
        dataset: The object, with or without its pixels.
        count: How many pictures there are; those of a mosaic count as the slices cut out of it
            (:func:`client.dicom.geometry.mosaics.mosaic_of`).

    Returns:
        ``count`` frames. Values that are missing, do not parse or contradict themselves are absent: a frame
        has no plane if its axes are not unit vectors at right angles.
    """
    groups = groups_of(dataset, count)
    planes, moments = _planes(dataset, groups), moments_of(dataset, groups)
    instance = int(number(dataset, "InstanceNumber") or 0)
    return tuple(
        Frame(
            plane=plane,
            spacing_mm=plane.spacing_mm if plane else pixel_spacing(one),
            stack=_stack(one, place, plane, count),
            time=moments[place],
            number=(instance, place + 1),
            segment=_segment(one),
        )
        for place, (one, plane) in enumerate(zip(groups, planes, strict=True))
    )


def _planes(dataset: Dataset, groups: Sequence[Groups]) -> list[Plane | None]:
    """The planes of all frames, by the kind of object."""
    count = len(groups)
    if is_mosaic(dataset):
        mosaic = mosaic_of(dataset)
        fits = mosaic is not None and len(mosaic.planes) == count
        return list(mosaic.planes) if mosaic is not None and fits else [None] * count
    if holds(dataset, "GridFrameOffsetVector"):
        return dose_planes(dataset, count)
    if holds(dataset, "SliceVector"):
        return nuclear_planes(dataset, count)
    alone = count == 1 or bool(film_of(dataset, count))
    return [stated(one, alone) for one in groups]


def _stack(groups: Groups, place: int, plane: Plane | None, count: int) -> str:
    """What keeps the frame apart from others of its series: stack, echo, kind of picture, view."""
    name = text(groups.macro("FrameContentSequence"), "StackID")
    parts = [name if name.isdecimal() else _digest(name), _echo(groups), _component(groups)]
    for keyword in ("EnergyWindowVector", "DetectorVector"):  # nuclear medicine
        vector = numbers(groups.dataset, keyword, count)
        parts.append(f"{vector[place]:g}" if vector else "")
    if plane is None and (count > 1 or text(groups.dataset, "Modality") in VIEWS):
        # Several films or views in one series; nothing but the object says which frames belong together.
        instance = number(groups.dataset, "InstanceNumber") or 0
        parts.append(f"{instance:g}-{_digest(text(groups.dataset, 'SOPInstanceUID'))}")
    return "/".join(parts) if any(parts) else ""


def _echo(groups: Groups) -> str:
    """Echo time to a tenth of a ms, and echo number: other contrasts of the same slices."""
    time = groups.number("MREchoSequence", "EffectiveEchoTime")  # (0018,9082) FD, ms
    if time is None:
        time = number(groups.dataset, "EchoTime")  # (0018,0081) DS, ms
    echo = number(groups.dataset, "EchoNumbers")  # (0018,0086) IS
    return ":".join("" if value is None else f"{round(value, 1):g}" for value in (echo, time)).strip(":")


def _component(groups: Groups) -> str:
    """Of MR: magnitude or phase, water or fat, and what else follows the first two values of (0008,0008)."""
    if text(groups.dataset, "Modality") != "MR":
        return ""
    kinds = groups.texts("MRImageFrameTypeSequence", "FrameType")
    if not kinds:
        kinds = groups.texts("", "ImageType")
    return "-".join((*groups.texts("MRImageFrameTypeSequence", "ComplexImageComponent"), *kinds[2:]))


def _digest(name: str) -> str:
    """Four characters that keep names of one series apart, and are too few to tell a name by."""
    return hashlib.sha256(name.encode()).hexdigest()[:4] if name else ""


def _segment(groups: Groups) -> int:
    """Referenced Segment Number (0062,000B) US of a mask's frame, else 0."""
    identified = groups.macro("SegmentIdentificationSequence")
    return int(number(identified, "ReferencedSegmentNumber") or 0)
