"""One picture as a case, the way that a row of a manifest goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from client.images import Picture, read_image, resize
from client.predicting.case import Given
from client.predicting.contract import check_brightness, check_modality, check_pictures, remarks_of
from client.predicting.layout import Layout
from common.errors import InputOtherKind, InputWithoutSpacing
from common.sequences import standardise, to_steps
from common.study import Patches, Rows, Study


def picture_case(path: Path, name: str, study: Study) -> Given:
    """The picture in a PNG, JPEG or single-frame DICOM file, shown by its own window.

    Raises:
        DataError: It cannot be read, or is not what the model reads.
    """
    return case_of(read_image(path), name, study)


def case_of(picture: Picture, name: str, study: Study) -> Given:
    """The case that a picture is.

    Raises:
        DataError: It is not what the model reads.
    """
    check_modality(study, picture.modality)
    check_pictures(study, (1, *picture.pixels.shape), None)
    check_brightness(picture.pixels)
    if study.data.window is not None:
        raise InputWithoutSpacing("the model reads modality values, as HU, which this file does not hold")
    shown = picture.pixels[None]
    steps, layout = torch.from_numpy(_steps(picture.pixels, study)), Layout.of(shown.shape, study)
    return Given(name, steps, remarks=remarks_of(shown), layout=layout)


def _steps(pixels: NDArray[np.float32], study: Study) -> NDArray[np.float32]:
    """(T, F) as ``client.sources`` makes them of a manifest's row."""
    sequence = study.sequence
    if not isinstance(sequence, Rows | Patches):
        raise InputOtherKind(f"one picture, where the model reads {sequence.kind}")
    field = resize(pixels, (sequence.size, sequence.size))
    field = np.clip(field, 0, 1) if study.study.task == "generation" else standardise(field)
    return np.ascontiguousarray(to_steps(field, sequence), dtype=np.float32)
