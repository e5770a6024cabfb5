"""``[sequence]``: what a step of a case is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from common.study.section import Section, Text

MaxSteps = Annotated[int | None, Field(ge=1, le=65_536)]


class PictureSequence(Section):
    """What the kinds of sequence made of pictures share: the square field that a picture is laid on."""

    kind: str
    size: int = Field(128, ge=8, le=1024)
    pixel_spacing_mm: float | None = Field(None, gt=0.0, le=1000.0)


class Rows(PictureSequence):
    """``[sequence] kind = "rows"``: an image is read line by line, top to bottom."""

    kind: Literal["rows"] = "rows"

    @property
    def steps(self) -> int:
        """Time steps of one image."""
        return self.size

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width in pixels of what one time step shows."""
        return (1, self.size)


class Patches(PictureSequence):
    """``[sequence] kind = "patches"``: an image is read square by square.

    ``order``: ``raster``, line by line; ``hilbert``, along Hilbert's curve, on which neighbours in time are
    always neighbours in the picture.
    """

    kind: Literal["patches"] = "patches"
    patch: int = Field(16, ge=2, le=256)
    order: Literal["raster", "hilbert"] = "raster"

    @model_validator(mode="after")
    def _fits(self) -> Patches:
        if self.size % self.patch:
            raise ValueError(f"size {self.size} must be a multiple of patch {self.patch}")
        side = self.size // self.patch
        if self.order == "hilbert" and side & (side - 1):
            raise ValueError(f"Hilbert's curve needs 2, 4, 8 ... patches a side, and there are {side}")
        return self

    @property
    def steps(self) -> int:
        """Time steps of one image."""
        return (self.size // self.patch) ** 2

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width in pixels of what one time step shows."""
        return (self.patch, self.patch)


class Slices(PictureSequence):
    """``[sequence] kind = "slices"``: every slice of a stack is a step, in the order of the stack."""

    kind: Literal["slices"] = "slices"
    slice_spacing_mm: float | None = Field(None, gt=0.0, le=1000.0)
    max_steps: MaxSteps = None

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width in pixels of what one time step shows."""
        return (self.size, self.size)


class Frames(PictureSequence):
    """``[sequence] kind = "frames"``: every frame of a clip is a step, in the order of time."""

    kind: Literal["frames"] = "frames"
    max_steps: MaxSteps = None

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width in pixels of what one time step shows."""
        return (self.size, self.size)


class Views(PictureSequence):
    """``[sequence] kind = "views"``: every picture of a patient is a step of one case.

    With ``case = "phase"`` only those of one phase are: views whose names differ in no more than their
    number, as ``ED00``, ``ED01`` and ``ES00``, ``ES01``.
    """

    kind: Literal["views"] = "views"
    case: Literal["patient", "phase"] = "patient"
    max_steps: MaxSteps = None

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width in pixels of what one time step shows."""
        return (self.size, self.size)


class Variable(Section):
    """One entry of ``[sequence.variables]``: a value enters the model as ``(value - centre) / scale``.

    Both stand in the study, so no statistics of patients cross sites.
    """

    centre: float
    scale: float = Field(gt=0.0)


Categories = Annotated[tuple[float, ...], Field(min_length=2, max_length=50)]


class Steps(Section):
    """``[sequence] kind = "steps"``: a record of measurements; every time at which one was made is a step.

    A gap of ``time_scale`` of the record's own units of time is 1.0. With ``every``, in those units too, the
    times are a grid from the record's first on, and a step has the last value measured in its stretch. With
    ``fill = "last"`` a value stays until its variable is measured again.

    ``categories`` are variables whose numbers are names: each number is a column of 0 and 1. What is not
    ``plausible``, or none of the categories, is as if not measured. A scaled value beyond ``limit`` enters as
    the limit.
    """

    kind: Literal["steps"] = "steps"
    variables: dict[Text, Variable] = Field(min_length=1, max_length=1000)
    categories: dict[Text, Categories] = Field({}, max_length=200)
    plausible: dict[Text, tuple[float, float]] = Field({}, max_length=1000)
    time_scale: float = Field(1.0, gt=0.0)
    every: float | None = Field(None, gt=0.0)
    fill: Literal["none", "last"] = "none"
    limit: float | None = Field(None, gt=0.0)
    max_steps: MaxSteps = None

    @model_validator(mode="after")
    def _names_fit(self) -> Steps:
        if twice := self.variables.keys() & self.categories.keys():
            raise ValueError(f"both a variable and a category: {', '.join(sorted(twice))}")
        if strangers := self.plausible.keys() - self.variables.keys():
            raise ValueError(f"plausible names what is no variable: {', '.join(sorted(strangers))}")
        if empty := [name for name, (low, high) in self.plausible.items() if low >= high]:
            raise ValueError(f"the least plausible value must be below the greatest: {', '.join(empty)}")
        if same := [name for name, values in self.categories.items() if len({*values}) < len(values)]:
            raise ValueError(f"a category stands twice: {', '.join(same)}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """What is read of a record: variables, then categories."""
        return (*self.variables, *self.categories)

    @property
    def columns(self) -> tuple[str, ...]:
        """What a step has a value, a flag and a gap of, as ``HR``, or ``chest_pain = 4``."""
        each = (f"{name} = {value:.9g}" for name, values in self.categories.items() for value in values)
        return (*self.variables, *each)

    @property
    def frame(self) -> tuple[int, int]:
        """One row: scaled values, then observed flags, then gaps, each in the columns' order."""
        return (1, 3 * len(self.columns))


Sequence = Annotated[Rows | Patches | Slices | Frames | Views | Steps, Field(discriminator="kind")]
