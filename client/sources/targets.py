"""What is to be learnt of each case, as its study's task has it (:mod:`common.learning`).

    classification   (N,) int64, or with several labels a case (N, C) float32 of 0 and 1
    generation       (N,) int64, the class that is conditioned on
    risk             (N, 2) float32: event; its time, or that of censoring, in ``time_scale``, or -1
    segmentation     (N, T, P) uint8, class of each pixel of a step; 255 where nobody has labelled it
    detection        (N, T, K, 5) float32: class, top, left, bottom, right in fractions; -1 where none is

The first three are known of an entry; the others are made beside its pictures, by step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from client.sources.boxes import BACKGROUND, box_classes
from client.sources.entry import Entry, class_of, classes_of, time_of
from common.errors import LabelUnknown, TargetInvalid
from common.sequences import NO_TARGET, to_steps
from common.study import Patches, Rows, Steps, Study

BY_STEP = ("segmentation", "detection")
"""Tasks whose targets are by step; a case has no label there."""

ReadMask = Callable[[Entry], NDArray[np.uint8]]
"""The class values of an entry's pixels, in any shape."""


def case_targets(entries: Sequence[Entry], study: Study) -> torch.Tensor:
    """(N, ...) what is to be learnt of cases, in a task that is about whole cases.

    Raises:
        LabelUnknown: The study does not name a label.
        TargetInvalid: A time is none.
    """
    if study.study.several_labels:
        several = torch.zeros(len(entries), len(study.study.classes))
        for row, entry in zip(several, entries, strict=True):
            row[list(classes_of(entry, study))] = 1.0
        return several
    classes = torch.tensor([class_of(entry, study) for entry in entries], dtype=torch.int64)
    if study.study.task != "risk":
        return classes
    unit = study.sequence.time_scale if isinstance(study.sequence, Steps) else 1.0
    times = [time_of(entry) for entry in entries]
    scaled = [time if time == -1 else time / unit for time in times]
    return torch.stack([classes.to(torch.float32), torch.tensor(scaled, dtype=torch.float32)], dim=1)


def check_target(entry: Entry, study: Study) -> None:
    """Refuses a case that has nothing to be compared with, as far as that can be told without its pictures.

    Raises:
        LabelUnknown: The study does not name its label, or the class of a box.
        TargetInvalid: It lacks what the task reads, or that cannot be read.
    """
    match study.study.task:
        case "segmentation":
            if not entry.masked:
                raise TargetInvalid(
                    f"{entry.where}: a segmentation needs a mask; see mask_path in docs/data.md"
                )
        case "detection":
            if any(row.boxes for row in entry.rows):
                box_classes(entry, study)
            elif not entry.masked:
                raise TargetInvalid(
                    f"{entry.where}: a detection needs boxes, or a mask that they are drawn around"
                )
        case _:
            case_targets([entry], study)


def classes_found(entries: Iterable[Entry], study: Study, read_mask: ReadMask) -> Iterable[set[int]]:
    """The classes that each case has, holds a pixel of, or holds a box of.

    Raises:
        LabelUnknown, TargetInvalid: As :func:`check_target`.
        DataError: A mask cannot be read.
    """
    for entry in entries:
        if study.study.several_labels:
            yield set(classes_of(entry, study))
        elif study.study.task not in BY_STEP:
            yield {class_of(entry, study)}
        elif any(row.boxes for row in entry.rows):
            yield box_classes(entry, study)
        else:
            yield _pixel_classes(read_mask(entry), entry, study)


def mask_targets(laid: NDArray[np.uint8], entry: Entry, study: Study) -> torch.Tensor:
    """(T, P) uint8 of a case: the class of each pixel of each step.

    Args:
        laid: (T, size, size) stored values on the study's grid.
        entry: Whose it is.
        study: Names the values.

    Raises:
        LabelUnknown: The study does not name a value; 255 needs no name and is a pixel without a label.
    """
    by_value = np.full(256, NO_TARGET, dtype=np.uint8)
    for value in np.unique(laid).tolist():
        index = study.study.class_index(str(value))
        if index is None and value != NO_TARGET:
            raise _unnamed(value, entry)
        by_value[value] = NO_TARGET if index is None else index
    classes = torch.from_numpy(by_value[laid])
    if isinstance(study.sequence, Rows | Patches):
        return to_steps(classes[0], study.sequence).contiguous()
    return classes.flatten(1)


def _pixel_classes(mask: NDArray[np.uint8], entry: Entry, study: Study) -> set[int]:
    found = set()
    for value in np.unique(mask).tolist():
        index = study.study.class_index(str(value))
        ground = study.study.task == "detection" and value == BACKGROUND
        if index is not None:
            found.add(index)
        elif value != NO_TARGET and not ground:
            raise _unnamed(value, entry)
    return found


def _unnamed(value: int, entry: Entry) -> LabelUnknown:
    return LabelUnknown(f"{entry.where}: its mask has the value {value}, which the study does not name")
