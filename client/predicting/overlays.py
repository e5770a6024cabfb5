"""What a model found in pictures, drawn on them as PNG files: masks in colours, boxes as frames.

Beside it stands the picture as the model reads it, and, where a manifest says it, what was marked. The
first class of a segmentation is the background and has no colour; below stands a legend.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from client.explaining.occlusion import field_of
from client.explaining.panels import Colour, font, panelled
from client.explaining.pictures import enlarged, grey_of, png_of
from client.predicting.case import Given
from client.predicting.detection import Box, DetectionAnswer
from client.predicting.model import TrainedModel
from client.predicting.segmentation import SegmentationAnswer
from client.predicting.writing import made
from common.files import write_atomically
from common.sequences import NO_TARGET
from common.study import PictureSequence, Study

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
READ, FOUND, MARKED = "as the model reads it", "found by the model", "as it was marked"

Panel = tuple[str, NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Frame:
    """A box to be drawn.

    Attributes:
        kind: Number of its class.
        fractions: Top, left, bottom, right in fractions of the picture.
        words: Beside it.
    """

    kind: int
    fractions: tuple[float, float, float, float]
    words: str = ""


def write_overlays(
    folder: Path, model: TrainedModel, case: Given, answer: SegmentationAnswer | DetectionAnswer, number: int
) -> list[Path]:
    """Write each picture of a case with what was found in it: ``NUMBER-PICTURE.png``.

    Args:
        folder: Made if it is not there.
        model: The model.
        case: As it reads it.
        answer: What it found.
        number: Place of the case among the results.

    Raises:
        DiskFull, OutputUnwritable: It cannot be written.
        DataError: What a manifest says was marked in the case cannot be read.
    """
    written = []
    for place, picture in enumerate(drawn(model, case, answer), start=1):
        written.append(made(folder) / f"{number:04d}-{place:03d}.png")
        write_atomically(written[-1], png_of(picture))
    return written


def drawn(
    model: TrainedModel, case: Given, answer: SegmentationAnswer | DetectionAnswer
) -> Iterator[NDArray[np.uint8]]:
    """(H, W, 3) each picture of a case beside what was found in it, and marked, with a legend.

    Raises:
        DataError: As of :func:`write_overlays`.
    """
    sequence, names = model.study.sequence, model.study.study.classes
    assert isinstance(sequence, PictureSequence)  # noqa: S101  no other is segmented or searched for boxes
    greys = [grey_of(field) for field in field_of(case.steps, sequence)]
    if isinstance(answer, SegmentationAnswer):
        panels, first = _masks(greys, case, answer, model.study), 1
    else:
        panels, first = _boxes(greys, case, answer, model.study), 0
    legend = [(colour_of(number), name) for number, name in enumerate(names) if number >= first]
    for own in panels:
        yield panelled(own, legend)


def coloured(grey: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) a picture (H, W) under a mask (H, W) of classes."""
    mixed = _plain(grey).astype(np.float64)
    for kind in np.unique(mask).tolist():
        if kind not in (0, NO_TARGET):
            own = mask == kind
            mixed[own] = (1 - COVER) * mixed[own] + COVER * np.array(colour_of(kind))
    return np.round(mixed).astype(np.uint8)


def framed(picture: NDArray[np.uint8], frames: Sequence[Frame]) -> NDArray[np.uint8]:
    """(H, W, 3) a picture with frames and the words beside them."""
    image = Image.fromarray(picture)
    pencil, (height, width) = ImageDraw.Draw(image), picture.shape[:2]
    for frame in frames:
        top, left, bottom, right = frame.fractions
        x, y, colour = left * width, top * height, colour_of(frame.kind)
        # A box at the very edge may be thinner than a pixel.
        corner = (max(x, right * width - 1), max(y, bottom * height - 1))
        pencil.rectangle(((x, y), corner), outline=colour, width=2)
        if frame.words:
            _beside(pencil, frame.words, (x, y, corner[1]), (width, height), colour)
    return np.asarray(image)


def colour_of(number: int) -> Colour:
    """Of a class."""
    return COLOURS[number % len(COLOURS)]


def _masks(
    greys: list[NDArray[np.uint8]], case: Given, answer: SegmentationAnswer, study: Study
) -> Iterator[list[Panel]]:
    marked = None if case.truth is None else case.truth.mask(study, answer.layout.shape)
    for place, grey in enumerate(greys):
        panels = [(READ, enlarged(_plain(grey))), (FOUND, enlarged(coloured(grey, answer.field[place])))]
        if marked is not None:
            panels.append((MARKED, enlarged(coloured(grey, marked[place]))))
        yield panels


def _boxes(
    greys: list[NDArray[np.uint8]], case: Given, answer: DetectionAnswer, study: Study
) -> Iterator[list[Panel]]:
    marked = None if case.truth is None else case.truth.boxes(study, answer.layout.shape)
    for place, grey in enumerate(greys):
        plain = enlarged(_plain(grey))
        own = [_frame(box, study) for box in answer.boxes if box.step == place]
        panels = [(READ, plain), (FOUND, framed(plain, own))]
        if marked is not None:
            panels.append((MARKED, framed(plain, [Frame(kind, sides) for kind, sides in marked[place]])))
        yield panels


def _frame(box: Box, study: Study) -> Frame:
    return Frame(study.study.classes.index(box.name), box.fractions, f"{box.score:.2f}")


def _plain(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([grey] * 3, axis=2)


def _beside(
    pencil: ImageDraw.ImageDraw,
    words: str,
    box: tuple[float, float, float],
    size: tuple[int, int],
    colour: Colour,
) -> None:
    """Write words above a box; below it where there is no room, and in it where there is none there either.

    Args:
        pencil: Of the picture.
        words: Beside the box.
        box: Its left, top and bottom in pixels.
        size: Width and height of the picture.
        colour: Of the words; a dark edge keeps them legible on bright ground.
    """
    left, top, bottom = box
    letters = font()
    wide, high = letters.getbbox(words)[2], letters.getbbox(words)[3] + 2
    above, below = top - high, bottom + 2
    y = above if above >= 0 else below if below + high <= size[1] else top + 3
    x = max(0.0, min(left, size[0] - wide - 1))
    pencil.text((x, y), words, fill=colour, font=letters, stroke_width=2, stroke_fill=(0, 0, 0))
