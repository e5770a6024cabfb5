"""What a manifest says of a case beside its pictures: what was marked in them, or what became of the patient.

No model is told; it is drawn beside what the model says.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from client.manifest import Row
from client.sources.boxes import NO_BOX
from client.sources.entry import Entry, time_of
from client.sources.manifest import step_targets
from common.sequences import from_steps
from common.study import Patches, PictureSequence, Rows, Study

Marked = tuple[int, tuple[float, float, float, float]]
"""A box: its class; top, left, bottom, right in fractions of the picture."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a patient.

    Attributes:
        name: The label's.
        event: Whether the event came.
        time: When it came, or observation ended, in the record's own units; None where not known.
    """

    name: str
    event: bool
    time: float | None


@dataclass(frozen=True, slots=True)
class Truth:
    """The rows of a case.

    Attributes:
        folder: Of the manifest.
        rows: One; or those of a patient's views, in their order.
    """

    folder: Path
    rows: tuple[Row, ...]

    def label(self, study: Study) -> str | None:
        """Name of the case's class; None where the study does not name it."""
        index = study.study.class_index(self.rows[0].label)
        return None if index is None else study.study.classes[index]

    def outcome(self, study: Study) -> Outcome | None:
        """What became of the patient; None where the study does not name it.

        Raises:
            TargetInvalid: The time is none.
        """
        name = self.label(study)
        if name is None:
            return None
        time = time_of(self._entry)
        return Outcome(name, name == study.study.classes[1], None if time == -1 else time)

    def mask(self, study: Study, shape: tuple[int, int, int]) -> NDArray[np.uint8] | None:
        """(T', size, size) class of each pixel on the study's grid; None where nobody has marked them.

        Args:
            study: Names the values.
            shape: T, H, W of the case's pictures as stored.

        Raises:
            DataError: It cannot be read, or is not of such pictures.
        """
        if not self._entry.masked:
            return None
        return _pictures(step_targets(self.folder, self._entry, _shapes(shape), study), study).numpy()

    def boxes(self, study: Study, shape: tuple[int, int, int]) -> list[list[Marked]] | None:
        """The boxes of each picture that the model reads; None where nobody has marked them.

        Args:
            study: Names the classes.
            shape: T, H, W of the case's pictures as stored.

        Raises:
            DataError: As of :meth:`mask`.
        """
        if not self._entry.masked and not any(row.boxes for row in self.rows):
            return None
        by_step = step_targets(self.folder, self._entry, _shapes(shape), study)  # (T, K, 5)
        if isinstance(study.sequence, Patches):  # all steps are of one picture
            by_step = by_step.flatten(0, 1)[None]
        return [[_marked(box) for box in own if box[0] != NO_BOX] for own in by_step.tolist()]

    @property
    def _entry(self) -> Entry:
        first = self.rows[0]
        item = first if len(self.rows) == 1 else self.rows
        return Entry(first.patient_id, first.split, first.label, f"manifest line {first.line}", item)


def _shapes(shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    count, height, width = shape
    return [(height, width)] * count


def _pictures(steps: torch.Tensor, study: Study) -> torch.Tensor:
    """(T', size, size) of (T, P)."""
    sequence = study.sequence
    assert isinstance(sequence, PictureSequence)  # noqa: S101  no other is segmented
    if isinstance(sequence, Rows | Patches):
        return from_steps(steps, sequence)[None]
    return steps.reshape(len(steps), sequence.size, sequence.size)


def _marked(box: list[float]) -> Marked:
    kind, top, left, bottom, right = box
    return int(kind), (top, left, bottom, right)
