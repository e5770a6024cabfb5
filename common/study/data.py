"""``[data]``: what a site's data must be to take part, and what is shown of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from common.study.section import Section


class Window(Section):
    """Modality values, as HU, that are shown between black and white (DICOM PS3.3 C.11.2.1.2 and .3)."""

    centre: float
    width: float = Field(gt=0.0)
    function: Literal["linear", "linear-exact", "sigmoid"] = "linear"

    @model_validator(mode="after")
    def _wide_enough(self) -> Window:
        if self.function == "linear" and self.width < 1:
            raise ValueError("a linear window is at least 1 wide; function linear-exact takes less")
        return self


class Data(Section):
    """``[data]``: what a site's data must be to take part, and what is shown of it."""

    modality: tuple[str, ...] = ()
    min_cases: int = Field(1, ge=1)
    min_patients: int = Field(1, ge=1)
    min_test_cases: int = Field(1, ge=0)
    test_split: Literal["test", "val"] = "test"
    window: Window | None = None
    max_boxes: int = Field(8, ge=1, le=1000)
