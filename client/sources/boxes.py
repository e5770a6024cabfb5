"""Boxes around findings: read from a manifest's column, or drawn around the segments of a mask.

Invariant: a box is (class, top, left, bottom, right), its sides in fractions of the whole picture, with top
before bottom and left before right. A place without a box has -1 everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from client.sources.entry import Entry
from common.errors import LabelUnknown, TargetInvalid
from common.sequences import NO_TARGET, hilbert
from common.study import Patches, Study

Box = tuple[int, float, float, float, float]
NO_BOX = -1.0
BACKGROUND = 0
"""In a mask: what no segment covers, if the study does not name it."""


def read_boxes(entry: Entry, shapes: Sequence[tuple[int, int]], study: Study) -> list[list[Box]]:
    """The boxes of each picture of a case, in their order.

    Args:
        entry: Its row has boxes.
        shapes: Height and width of each of its pictures, as stored.
        study: Names the classes; in a sequence of patches a row has one picture, and its boxes stand alone.

    Raises:
        TargetInvalid: They are no boxes, lie beyond the picture, or are of another number of pictures.
        LabelUnknown: The study does not name a class.
    """
    pictures = _pictures(entry, study)
    if len(pictures) != len(shapes):
        raise TargetInvalid(f"{entry.where}: boxes of {len(pictures)} pictures, and there are {len(shapes)}")
    return [
        [_box(box, shape, entry, study) for box in picture]
        for picture, shape in zip(pictures, shapes, strict=True)
    ]


def box_classes(entry: Entry, study: Study) -> set[int]:
    """The classes that any box of a case has.

    Raises:
        TargetInvalid, LabelUnknown: As :func:`read_boxes`, as far as that can be told without the picture.
    """
    return {_class(box[0], entry, study) for picture in _pictures(entry, study) for box in picture}


def boxes_around(mask: NDArray[np.uint8], entry: Entry, study: Study) -> list[list[Box]]:
    """The smallest box around each segment number of each picture.

    Args:
        mask: (T, H, W) segment numbers, 0 where there is none, ``NO_TARGET`` where there is no picture.
        entry: Whose it is.
        study: Names the numbers.

    Raises:
        LabelUnknown: The study does not name a number.
    """
    return [list(_around(picture, entry, study)) for picture in mask]


def box_targets(boxes: Sequence[Sequence[Box]], study: Study, where: str) -> torch.Tensor:
    """(T, K, 5) float32 of a case: its boxes by step.

    Of patches a box stands at the one that holds its centre; of frames and slices at its own.

    Raises:
        TargetInvalid: A step has more boxes than the study's ``max_boxes``.
    """
    sequence, most = study.sequence, study.data.max_boxes
    by_step = _by_patch(boxes[0], sequence) if isinstance(sequence, Patches) else boxes
    found = torch.full((len(by_step), most, 5), NO_BOX)
    for step, own in enumerate(by_step):
        if len(own) > most:
            raise TargetInvalid(
                f"{where}: {len(own)} boxes at step {step}, and the study takes {most}",
                hint="Raise [data] max_boxes.",
            )
        if own:
            found[step, : len(own)] = torch.tensor(own, dtype=torch.float32)
    return found


def _pictures(entry: Entry, study: Study) -> list[list[list[Any]]]:
    """What the column says, as one list of boxes a picture."""
    (row,) = entry.rows
    try:
        told = json.loads(row.boxes)
    except (ValueError, RecursionError):
        told = None
    pictures = [told] if isinstance(study.sequence, Patches) else told
    if not isinstance(pictures, list) or not all(isinstance(picture, list) for picture in pictures):
        raise TargetInvalid(f"{entry.where}: boxes are lists in JSON, of a clip or a stack one a picture")
    if not all(isinstance(box, list) and len(box) == 5 for picture in pictures for box in picture):
        raise TargetInvalid(f"{entry.where}: a box is [class, top, left, bottom, right]")
    return pictures


def _class(stored: Any, entry: Entry, study: Study) -> int:
    index = study.study.class_index(str(stored))
    if index is None:
        raise LabelUnknown(
            f"{entry.where}: a box of class {str(stored)[:40]!r}, which the study does not name"
        )
    return index


def _box(told: list[Any], shape: tuple[int, int], entry: Entry, study: Study) -> Box:
    height, width = shape
    kind, *sides = told
    if not all(isinstance(side, int | float) and not isinstance(side, bool) for side in sides):
        raise TargetInvalid(f"{entry.where}: the sides of a box are numbers")
    top, left, bottom, right = map(float, sides)
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise TargetInvalid(
            f"{entry.where}: a box from {top:g}, {left:g} to {bottom:g}, {right:g}, "
            f"in a picture of {height} x {width} pixels"
        )
    return _class(kind, entry, study), top / height, left / width, bottom / height, right / width


def _around(picture: NDArray[np.uint8], entry: Entry, study: Study) -> Iterator[Box]:
    height, width = picture.shape
    for number in np.unique(picture).tolist():
        index = study.study.class_index(str(number))
        if index is None and number in (BACKGROUND, NO_TARGET):
            continue
        rows, columns = np.nonzero(picture == number)
        yield (
            _class(number, entry, study),
            float(rows.min() / height),
            float(columns.min() / width),
            float((rows.max() + 1) / height),
            float((columns.max() + 1) / width),
        )


def _by_patch(boxes: Sequence[Box], sequence: Patches) -> list[list[Box]]:
    side = sequence.size // sequence.patch
    by_place: list[list[Box]] = [[] for _ in range(side * side)]
    for box in boxes:
        _, top, left, bottom, right = box
        row, column = (min(side - 1, int(side * (a + b) / 2)) for a, b in ((top, bottom), (left, right)))
        by_place[row * side + column].append(box)
    if sequence.order == "raster":
        return by_place
    return [by_place[place] for place in hilbert(side).tolist()]
