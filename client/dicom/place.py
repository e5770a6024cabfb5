"""Where and when a picture was taken."""

from __future__ import annotations

from dataclasses import dataclass

Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Plane:
    """A picture's plane in the patient, in mm and DICOM's coordinates (PS3.3 C.7.6.2.1.1).

    Attributes:
        position_mm: Centre of the first pixel (0020,0032).
        row: Unit vector along which the column index grows (first half of 0020,0037).
        column: Unit vector along which the row index grows (second half).
        spacing_mm: Between rows, between columns (0028,0030).
    """

    position_mm: Vector
    row: Vector
    column: Vector
    spacing_mm: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of an object: its place, and what else tells it from its neighbours.

    Attributes:
        plane: None where the object does not say.
        spacing_mm: Between rows, between columns; known for many pictures that have no plane. None if not.
        stack: Stack ID (0020,9056), echo, or whatever keeps pictures of one series apart that are no
            sequence of each other.
        time: What orders pictures of the same place, first the most significant: temporal position,
            b-value, trigger time, acquisition number, ... Empty where nothing does.
        number: Instance number (0020,0013), then the frame's own number.
        segment: Segment number of a mask's frame; 0 for a picture.
    """

    plane: Plane | None = None
    spacing_mm: tuple[float, float] | None = None
    stack: str = ""
    time: tuple[float, ...] = ()
    number: tuple[int, int] = (0, 0)
    segment: int = 0
