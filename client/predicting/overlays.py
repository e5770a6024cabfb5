"""What a model found in pictures, drawn on them as PNG files: masks in colours, boxes as frames.

The first class of a segmentation is the background and has no colour; below each picture stands a legend.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from client.explaining.occlusion import field_of
from client.explaining.pictures import enlarged, grey_of, png_of
from client.predicting.case import Given
from client.predicting.detection import Box, DetectionAnswer
from client.predicting.model import TrainedModel
from client.predicting.segmentation import SegmentationAnswer
from client.predicting.writing import made
from common.files import write_atomically
from common.study import PictureSequence

Colour = tuple[int, int, int]
COLOURS: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
)
"""Told apart by colour-blind readers too (Okabe and Ito 2008); further classes begin anew."""
COVER = 0.45
"""How much of the picture a mask covers."""
LINE = 16
"""Height in pixels of a line of the legend."""


def write_overlays(
    folder: Path, model: TrainedModel, case: Given, answer: SegmentationAnswer | DetectionAnswer, number: int
) -> list[Path]:
    """Write each picture of a case, as the model reads it, under what was found: ``NUMBER-PICTURE.png``.

    Args:
        folder: Made if it is not there.
        model: The model.
        case: As it reads it.
        answer: What it found.
        number: Place of the case among the results.

    Raises:
        DiskFull, OutputUnwritable: It cannot be written.
    """
    written = []
    for place, picture in enumerate(drawn(model, case, answer), start=1):
        written.append(made(folder) / f"{number:04d}-{place:03d}.png")
        write_atomically(written[-1], png_of(picture))
    return written


def drawn(
    model: TrainedModel, case: Given, answer: SegmentationAnswer | DetectionAnswer
) -> Iterator[NDArray[np.uint8]]:
    """(H, W, 3) each picture of a case under what was found in it, with a legend."""
    sequence, names = model.study.sequence, model.study.study.classes
    assert isinstance(sequence, PictureSequence)  # noqa: S101  no other is segmented or searched for boxes
    masked = isinstance(answer, SegmentationAnswer)
    for place, field in enumerate(field_of(case.steps, sequence)):
        grey = grey_of(field)
        if isinstance(answer, SegmentationAnswer):
            picture = enlarged(coloured(grey, answer.field[place]))
        else:
            own = [box for box in answer.boxes if box.step == place]
            picture = framed(enlarged(np.stack([grey] * 3, axis=2)), own, names)
        yield _with_legend(picture, names[1:] if masked else names, 1 if masked else 0)


def coloured(grey: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) a picture (H, W) under a mask (H, W) of classes."""
    mixed = np.stack([grey] * 3, axis=2).astype(np.float64)
    for kind in np.unique(mask).tolist():
        if kind:
            own = mask == kind
            mixed[own] = (1 - COVER) * mixed[own] + COVER * np.array(colour_of(kind))
    return np.round(mixed).astype(np.uint8)


def framed(picture: NDArray[np.uint8], boxes: Sequence[Box], names: Sequence[str]) -> NDArray[np.uint8]:
    """(H, W, 3) a picture with frames around boxes and their scores."""
    image = Image.fromarray(picture)
    pencil, (height, width) = ImageDraw.Draw(image), picture.shape[:2]
    for box in boxes:
        top, left, bottom, right = box.fractions
        x, y, colour = left * width, top * height, colour_of(names.index(box.name))
        # A box at the very edge may be thinner than a pixel.
        corner = (max(x, right * width - 1), max(y, bottom * height - 1))
        pencil.rectangle(((x, y), corner), outline=colour, width=2)
        above = y - LINE + 2 if y >= LINE else corner[1] + 2
        pencil.text((x, above), f"{box.score:.2f}", fill=colour)
    return np.asarray(image)


def colour_of(number: int) -> Colour:
    """Of a class."""
    return COLOURS[number % len(COLOURS)]


def _with_legend(picture: NDArray[np.uint8], names: Sequence[str], first: int) -> NDArray[np.uint8]:
    """The picture above a line for each class: its colour and its name."""
    strip = Image.new("RGB", (picture.shape[1], LINE * len(names)))
    pencil = ImageDraw.Draw(strip)
    for line, name in enumerate(names):
        pencil.rectangle((3, LINE * line + 3, 13, LINE * line + 13), fill=colour_of(first + line))
        pencil.text((19, LINE * line + 2), _plain(name), fill=(255, 255, 255))
    return np.concatenate([picture, np.asarray(strip)])


def _plain(name: str) -> str:
    """The name in letters that every font has."""
    return name.encode("latin-1", "replace").decode("latin-1")
