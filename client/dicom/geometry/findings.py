"""What is irregular about the pictures of a series; found and named, never hidden and never mended.

The codes are stable: they stand in the site's database, in reports and in ``docs/dicom.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Irregularity(StrEnum):
    """What can be irregular; each has a hint and says what its numbers are."""

    hint: str
    units: str

    def __new__(cls, code: str, units: str, hint: str) -> Irregularity:
        """A member that is its code and carries what its numbers are, and its hint."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.units = units
        member.hint = hint
        return member

    # Of a series.
    several_stacks = (
        "several-stacks",
        "stacks",
        "The series holds pictures that are no sequence of each other; each stack becomes its own case.",
    )
    mixed_orientations = (
        "mixed-orientations",
        "orientations",
        "The series holds pictures in several directions, such as a three-way scout.",
    )
    mixed_sizes = (
        "mixed-sizes",
        "sizes of picture or pixel",
        "The series holds pictures of several sizes or pixel spacings.",
    )
    no_order = (
        "no-order",
        "pictures",
        "Without position and number they cannot be put in order; have the series sent again.",
    )
    # Of a stack.
    missing_slices = (
        "missing-slices",
        "slices missing, after slice",
        "A gap is as wide as if slices were missing there; ask the archive to send the series again.",
    )
    uneven_spacing = (
        "uneven-spacing",
        "least mm, greatest mm",
        "The distance between slices changes; a model that counts slices sees it stretched.",
    )
    gantry_tilt = (
        "gantry-tilt",
        "degrees",
        "The slices are not stacked at right angles; the volume leans by this angle.",
    )
    shifted_slices = (
        "shifted-slices",
        "greatest mm",
        "Slices lie beside the line through the others; the patient or the field of view was moved.",
    )
    anisotropic = (
        "anisotropic",
        "slice distance / pixel spacing",
        "Slices are much farther apart than pixels; a study should not read across them as if they were not.",
    )
    duplicate_positions = (
        "duplicate-positions",
        "pictures left aside",
        "More pictures than one lie at the same place and moment; the first is used.",
    )
    ragged_times = (
        "ragged-times",
        "pictures left aside",
        "Some places have fewer moments than others; what makes no whole volume is left aside.",
    )
    times_by_number = (
        "times-by-number",
        "moments",
        "No time, b-value or trigger orders the pictures of a place; their instance numbers do.",
    )
    order_by_number = (
        "order-by-number",
        "slices",
        "No position is known; the slices stand in the order of their instance numbers.",
    )


@dataclass(frozen=True, slots=True)
class Finding:
    """One irregularity and its size.

    Attributes:
        code: What it is.
        numbers: How much of it, as ``code.units`` names them.
    """

    code: Irregularity
    numbers: tuple[float, ...] = ()

    @property
    def hint(self) -> str:
        """What it means, or what to do about it."""
        return self.code.hint

    def __str__(self) -> str:
        told = ", ".join(f"{number:g}" for number in self.numbers)
        return f"{self.code.value} ({self.code.units}: {told})" if told else self.code.value
