"""When, and under which changing condition, a picture was taken: what orders pictures of one place.

A moment is a tuple of numbers that compares as wanted, the most significant first. Only differences inside
a series count: what is the same for all its pictures orders nothing and does no harm.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from itertools import accumulate

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from client.dicom.dataset.elements import as_numbers, items, number, numbers, private, tags, text
from client.dicom.dataset.groups import Groups

MILLISECOND = 1e-3
DAY_S = 86400.0

PLACES = frozenset(
    tag_for_keyword(keyword)
    for keyword in (
        "ImagePositionPatient",
        "ImagePositionVolume",
        "ImageOrientationPatient",
        "StackID",
        "InStackPositionNumber",
        "ReferencedSegmentNumber",
        "RowPositionInTotalImagePixelMatrix",
        "ColumnPositionInTotalImagePixelMatrix",
        "XOffsetInSlideCoordinateSystem",
        "YOffsetInSlideCoordinateSystem",
        "ZOffsetInSlideCoordinateSystem",
    )
)
"""Dimension Index Pointers (0020,9165) that say where a frame lies or what it is, not when it was taken."""

NUCLEAR = ("RotationVector", "PhaseVector", "RRIntervalVector", "TimeSlotVector", "TimeSliceVector")
ANGLES = ("AngularViewVector",)
"""Vectors of nuclear medicine that number its frames' moments (PS3.3 C.8.4.8), the outermost first."""

TIME_POINTERS = frozenset(tag_for_keyword(keyword) for keyword in ("FrameTime", "FrameTimeVector"))

MOVING = frozenset(("US", "IVUS", "XA", "RF", "ES", "XC", "OPT", "OAM"))
"""Modalities whose frames are a film, also where the file forgets to say how fast it runs."""

GE_B_VALUE_OFFSET = 100_000  # GE adds 10**9 to mark some b-values; none is above this

_DATE_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d(?:\.\d{1,6})?)")


def moments_of(dataset: Dataset, groups: Sequence[Groups]) -> list[tuple[float, ...]]:
    """One moment for each frame; all empty where nothing is known.

    The order of significance: temporal position; inversion time (s); b-value (s/mm2); the frame's own
    dimension indices and vectors; trigger delay, reference time (s); acquisition number; acquisition time
    (s since the study began: no date is kept); time within the film (s). Gradient directions count by their
    dimension index where there is one, else by the frame's number.
    """
    count = len(groups)
    pointers = _dimensions(dataset)
    vectors = [numbers(dataset, keyword, count) for keyword in (*NUCLEAR, *ANGLES)]
    film = film_of(dataset, count) or (None,) * count
    rows = [
        [
            *_condition(one),
            *_indices(one, pointers),
            *(vector[place] for vector in vectors if vector),
            *_clock(one),
            film[place],
        ]
        for place, one in enumerate(groups)
    ]
    known = any(value is not None for row in rows for value in row)
    return [tuple(value or 0.0 for value in row) if known else () for row in rows]


def film_of(dataset: Dataset, count: int) -> tuple[float, ...]:
    """Seconds from the first frame of a film, or the frames' numbers if its speed is unknown; else empty."""
    if count < 2 or not _is_film(dataset):
        return ()
    steps = numbers(dataset, "FrameTimeVector", count)  # (0018,1065) DS, ms; the first is 0
    if steps and min(steps[1:]) > 0:
        return tuple(at * MILLISECOND for at in accumulate((0.0, *steps[1:])))
    step = number(dataset, "FrameTime") or 0.0  # (0018,1063) DS, ms
    return tuple(place * (step * MILLISECOND if step > 0 else 1.0) for place in range(count))


def _is_film(dataset: Dataset) -> bool:
    """Whether frames follow each other in time: Frame Increment Pointer (0028,0009) AT, or the modality."""
    pointers = tags(dataset, "FrameIncrementPointer")
    if pointers:
        return not TIME_POINTERS.isdisjoint(pointers)
    told = bool(numbers(dataset, "FrameTime") or numbers(dataset, "FrameTimeVector"))
    return told or text(dataset, "Modality") in MOVING


def _condition(groups: Groups) -> tuple[float | None, ...]:
    """Temporal position, inversion time in s, b-value in s/mm2."""
    temporal = groups.number("FrameContentSequence", "TemporalPositionIndex")
    if temporal is None:
        temporal = number(groups.dataset, "TemporalPositionIdentifier")
    inversion = groups.number("MRModifierSequence", "InversionTime")
    if inversion is None:
        inversion = next(iter(numbers(groups.macro("MRModifierSequence"), "InversionTimes")), None)
    return temporal, _seconds(inversion), b_value(groups)


def b_value(groups: Groups) -> float | None:
    """Diffusion weighting in s/mm2: (0018,9087) FD, or where the makers kept it before that existed."""
    stated = groups.number("MRDiffusionSequence", "DiffusionBValue")
    if stated is not None:
        return stated
    own = (
        private(groups.dataset, 0x0019, "SIEMENS MR HEADER", 0x0C),
        private(groups.dataset, 0x2001, "Philips Imaging DD 001", 0x03),
        private(groups.dataset, 0x0065, "Image Private Header", 0x09),  # United Imaging
        private(groups.dataset, 0x0043, "GEMS_PARM_01", 0x39),
    )
    found = next((values[0] for values in map(as_numbers, own) if values), None)
    return None if found is None else found % GE_B_VALUE_OFFSET


def _dimensions(dataset: Dataset) -> list[int]:
    """Which dimension indices order moments: their places in Dimension Index Values (0020,9157)."""
    dimensions = items(dataset, "DimensionIndexSequence")
    pointers = [tags(one, "DimensionIndexPointer") for one in dimensions]
    return [place for place, pointer in enumerate(pointers) if pointer and pointer[0] not in PLACES]


def _indices(groups: Groups, places: Sequence[int]) -> list[float | None]:
    values = numbers(groups.macro("FrameContentSequence"), "DimensionIndexValues")
    return [values[place] if place < len(values) else None for place in places]


def _clock(groups: Groups) -> tuple[float | None, ...]:
    """Trigger delay, offset, reference time in s; acquisition number; acquisition time in s."""
    trigger = groups.number("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime")
    if trigger is None:
        trigger = number(groups.dataset, "TriggerTime")  # (0018,1060) DS, ms
    acquisition = number(groups.macro("FrameContentSequence"), "FrameAcquisitionNumber")
    if acquisition is None:
        acquisition = number(groups.dataset, "AcquisitionNumber")
    return (
        _seconds(trigger),
        groups.number("TemporalPositionSequence", "TemporalPositionTimeOffset"),  # already in s
        _seconds(number(groups.dataset, "FrameReferenceTime")),  # (0054,1300) DS, ms
        acquisition,
        _acquired(groups),
    )


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds * MILLISECOND


def _acquired(groups: Groups) -> float | None:
    """When the frame was acquired, in s since the study began; None where that is missing or wrong.

    Where no date of the study is known, in s of its day: what is kept of a picture tells no date.
    """
    content, dataset = groups.macro("FrameContentSequence"), groups.dataset
    stamp = text(content, "FrameAcquisitionDateTime") or text(dataset, "AcquisitionDateTime")
    stamp = stamp or text(dataset, "AcquisitionDate") + text(dataset, "AcquisitionTime").replace(":", "")
    acquired = seconds_of(stamp)
    if acquired is None:
        return None
    began = seconds_of(text(dataset, "StudyDate") + text(dataset, "StudyTime").replace(":", ""))
    if began is None:
        began = seconds_of(text(dataset, "StudyDate") + "000000")
    # Microseconds, so that the difference of two large numbers is not a matter of rounding.
    return round(acquired - began, 6) if began is not None else round(acquired % DAY_S, 6)


def seconds_of(stamp: str) -> float | None:
    """A DT value (YYYYMMDDHHMMSS.FFFFFF) in s since the year 1; None unless it goes down to the second."""
    found = _DATE_TIME.match(stamp)
    if found is None:
        return None
    year, month, day, hour, minute = (int(part) for part in found.groups()[:5])
    try:
        days = datetime.date(year, month, day).toordinal()
    except ValueError:
        return None
    return days * DAY_S + hour * 3600 + minute * 60 + float(found[6])
