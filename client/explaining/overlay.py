"""Overlays of predictions as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from client.explaining.gradients import attributed
from client.explaining.occlusion import field_of
from client.explaining.panels import Colour, Entry, panelled
from client.explaining.pictures import (
    AGAINST,
    FOR,
    enlarged,
    grey_of,
    overlaid,
    png_of,
    sheet,
    smoothed,
    strongest_of,
)
from client.explaining.question import Wanted, check_served, question_of
from client.predicting.case import Given
from client.predicting.model import TrainedModel
from common.errors import TaskNotServed
from common.files import unwritable, write_atomically
from common.study import PictureSequence

SMOOTHING = 32
"""Attributions are shown as means over squares of a 32nd of the picture's side."""


def write_overlay(folder: Path, model: TrainedModel, case: Given, target: str, number: int) -> Path:
    """Write the picture of a classified case beside itself under its integrated gradients as ``NUMBER.png``.

    Args:
        folder: Made if it is not there.
        model: The model.
        case: As it reads it.
        target: The class that is explained.
        number: Place of the case among the results; the file is called after it.

    Raises:
        TaskNotServed: It is no picture, or nothing of the kind is made of the model.
        DiskFull, OutputUnwritable: It cannot be written.
    """
    wanted = Wanted(target)
    check_served(model, wanted)
    question = question_of(model, case, wanted)
    values = attributed(model.network, case.steps.to(model.device), question.evidence).values
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None
    path = folder / f"{number:04d}.png"
    write_atomically(path, png_of(beside(model, case, values, target)))
    return path


def beside(model: TrainedModel, case: Given, values: torch.Tensor, target: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: all pictures of a case, the same under attributions (T, F), and what colours mean.

    Raises:
        TaskNotServed: The model reads records.
    """
    explained = overlay(model, case, values)
    assert isinstance(model.study.sequence, PictureSequence)  # noqa: S101  as overlay has seen
    fields = field_of(case.steps, model.study.sequence)
    plain = sheet([np.stack([grey_of(field)] * 3, axis=2) for field in fields])
    panels = [("as the model reads it", enlarged(plain)), ("integrated gradients", enlarged(explained))]
    return panelled(panels, legend_of(target), below=len(fields) > 1)


def overlay(model: TrainedModel, case: Given, values: torch.Tensor) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: all pictures of a case under attributions (T, F).

    Raises:
        TaskNotServed: The model reads records.
    """
    sequence = model.study.sequence
    if not isinstance(sequence, PictureSequence):
        raise TaskNotServed("an overlay needs a picture, and the model reads records")
    fields = field_of(case.steps, sequence)
    shown = shown_values(values, sequence)
    strongest = strongest_of(shown)
    return sheet([overlaid(grey_of(f), v, strongest) for f, v in zip(fields, shown, strict=True)])


def shown_values(values: torch.Tensor, sequence: PictureSequence) -> torch.Tensor:
    """(T', size, size) attributions (T, F) as they are drawn."""
    return smoothed(field_of(values, sequence), max(1, sequence.size // SMOOTHING))


def legend_of(target: str) -> list[Entry]:
    """What the colours mean."""
    return [(_colour(FOR), f"speaks for {target}"), (_colour(AGAINST), f"speaks against {target}")]


def _colour(shades: tuple[float, float, float]) -> Colour:
    red, green, blue = shades
    return int(red), int(green), int(blue)
