"""Whether an input is like those that a model was trained on, as far as its study says.

What the study forbids is refused with a coded reason. What is merely unusual is let through with a remark.
Neither needs a figure about the patients that the model was trained on: there is none in a model's file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.cohorts.quality.picture import picture_of
from common.errors import (
    InputBlank,
    InputManyFrames,
    InputOtherKind,
    InputTooSmall,
    InputWithoutSpacing,
    WrongModality,
)
from common.study import Patches, PictureSequence, Rows, Study

COARSEST = 2.0
"""A picture whose pixels are more than so many times as large as those that the model reads is refused."""

ELONGATED = 2.0
MOSTLY = 0.9
LEAST_SHADES = 8


def check_modality(study: Study, modality: str | None) -> None:
    """Refuse another modality than the study takes; PNG and JPEG have none and pass.

    Raises:
        WrongModality: It is another one.
    """
    wanted = study.data.modality
    if wanted and modality and modality not in wanted:
        raise WrongModality(f"modality {modality}, where the model takes {', '.join(wanted)}")


def check_pictures(
    study: Study, shape: tuple[int, int, int], spacing_mm: Sequence[float | None] | None
) -> None:
    """Refuse pictures that the model cannot read as it was trained to.

    Args:
        study: What the model was trained for.
        shape: T, H, W.
        spacing_mm: Between steps, rows and columns; None where unknown.

    Raises:
        InputOtherKind: The model reads records.
        InputManyFrames: Several pictures where one is read.
        InputWithoutSpacing: The model needs a spacing, and it is not known.
        InputTooSmall: There are far too few pixels.
    """
    sequence = study.sequence
    if not isinstance(sequence, PictureSequence):
        raise InputOtherKind("a picture, where the model reads records of measurements")
    count, height, width = shape
    if count != 1 and isinstance(sequence, Rows | Patches):
        raise InputManyFrames(f"{count} pictures, where the model reads {sequence.kind} of one")
    between, rows, columns = spacing_mm or (None, None, None)
    if sequence.pixel_spacing_mm is None:
        coarse = sequence.size / min(height, width)
    elif rows is None or columns is None:
        raise InputWithoutSpacing(f"the model reads pixels of {sequence.pixel_spacing_mm:g} mm")
    else:
        coarse = max(rows, columns) / sequence.pixel_spacing_mm
    if getattr(sequence, "slice_spacing_mm", None) is not None and count > 1 and between is None:
        raise InputWithoutSpacing("the model reads slices of a given distance")
    if coarse > COARSEST:
        raise InputTooSmall(f"{height} x {width} pixels: {coarse:.1f} times coarser than the model reads")


def check_brightness(pixels: NDArray[Any]) -> None:
    """Refuse pictures in which nothing can be seen.

    Args:
        pixels: (T, H, W), any real numbers.

    Raises:
        InputBlank: All finite values are the same.
    """
    finite = pixels[np.isfinite(pixels)]
    if not finite.size or float(finite.max()) - float(finite.min()) <= 1e-6:
        raise InputBlank("every pixel has the same brightness")


def remarks_of(brightness: NDArray[np.float32]) -> tuple[str, ...]:
    """What is unusual in pictures (T, H, W) of brightness in [0, 1], as codes.

    ``elongated``: one side is more than twice the other, so that resampling distorts; ``mostly-one-shade``:
    nine tenths of the pixels share a 64th of the range; ``few-shades``: fewer than eight shades, as drawings
    and masks have.
    """
    height, width = brightness.shape[1:]
    seen = picture_of(brightness)
    found = {
        "elongated": max(height, width) > ELONGATED * min(height, width),
        "mostly-one-shade": float(seen.histogram.max()) > MOSTLY,
        "few-shades": len(np.unique(brightness[len(brightness) // 2])) < LEAST_SHADES,
    }
    return tuple(code for code, holds in found.items() if holds)
