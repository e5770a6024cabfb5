"""``[augmentation]``: how training cases are changed at random, so that a model sees no case twice alike."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from common.study.section import Section


class Augmentation(Section):
    """``[augmentation]``: nothing is changed unless it says so.

    Attributes:
        shift: Pictures are moved by up to this share of their side.
        rotate_deg: They are turned by up to this angle either way.
        scale: They grow or shrink by up to this share.
        crop: Up to this share of the side is cut away; what stays fills the field.
        flip: By which axis they are mirrored, in half of the cases.
        noise: Standard deviation of what is added to each pixel or measured value.
        brightness: Up to so much is added to a whole case.
        contrast: A case's differences grow or shrink by up to this share.

    Noise and brightness are in standard deviations of the case, where the study standardises its pictures.
    """

    shift: float = Field(0.0, ge=0.0, le=0.5)
    rotate_deg: float = Field(0.0, ge=0.0, le=180.0)
    scale: float = Field(0.0, ge=0.0, le=0.5)
    crop: float = Field(0.0, ge=0.0, le=0.5)
    flip: Literal["none", "horizontal", "vertical", "both"] = "none"
    noise: float = Field(0.0, ge=0.0, le=2.0)
    brightness: float = Field(0.0, ge=0.0, le=2.0)
    contrast: float = Field(0.0, ge=0.0, le=0.9)

    @property
    def moves(self) -> bool:
        """Whether pixels change their places."""
        return bool(self.shift or self.rotate_deg or self.scale or self.crop or self.flip != "none")

    @property
    def shades(self) -> bool:
        """Whether values change."""
        return bool(self.noise or self.brightness or self.contrast)

    def require_fit(self, sequence: str) -> None:
        """Let a study pass whose kind of sequence this can be done to.

        Raises:
            ValueError: It cannot; the message says what can.
        """
        if sequence == "steps" and (self.moves or self.brightness or self.contrast):
            raise ValueError("[augmentation] of a record's steps is noise alone; they are no pictures")
