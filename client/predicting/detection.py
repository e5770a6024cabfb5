"""What a detection model says of a case: boxes in pixels of the pictures that were given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from client.predicting.answer import About
from client.predicting.case import Given
from client.predicting.classification import batch_of
from client.predicting.layout import Layout
from client.predicting.model import TrainedModel
from client.predicting.segmentation import NOTHING, layout_of
from common.errors import ModelDiverged
from common.learning import learning_of
from common.learning.boxes import Found
from common.learning.detection import Detection
from common.study import PictureSequence

AT_LEAST = 0.3
"""A box with a lower score is not told, unless another bound is asked for."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box that was found.

    Attributes:
        picture: Of which of the given pictures, from 1 on.
        name: Its class.
        score: In (0, 1).
        sides: Top, left, bottom, right in pixels of that picture.
        fractions: The same in fractions of what the model reads.
        step: In which of the pictures that the model reads, from 0 on.
    """

    picture: int
    name: str
    score: float
    sides: tuple[float, float, float, float]
    fractions: tuple[float, float, float, float]
    step: int

    def to_json(self) -> dict[str, Any]:
        """As it is written."""
        named = zip(("top", "left", "bottom", "right"), self.sides, strict=True)
        return {"picture": self.picture, "class": self.name, "score": self.score, **dict(named)}


@dataclass(frozen=True, slots=True)
class DetectionAnswer:
    """What a model says of one case.

    Attributes:
        about: The case.
        boxes: What was found, picture by picture, the best first.
        at_least: The least score of a box that is told.
        layout: How what the model reads lies in the pictures that were given.
    """

    about: About
    boxes: tuple[Box, ...]
    at_least: float
    layout: Layout

    @property
    def name(self) -> str:
        """Of the case, as the user named it."""
        return self.about.name

    @property
    def decision(self) -> str:
        """How many boxes of which class."""
        counts = Counter(box.name for box in self.boxes)
        return ", ".join(f"{count} {name}" for name, count in counts.items()) or NOTHING

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            **self.about.to_json(),
            "decision": self.decision,
            "shape": list(self.layout.shape),
            "at_least": self.at_least,
            "boxes": [box.to_json() for box in self.boxes],
        }

    def to_rows(self) -> list[dict[str, str]]:
        """A line a box; one line without any where nothing was found."""
        first = {"input": self.name, "decision": self.decision, "remarks": " ".join(self.about.remarks)}
        if not self.boxes:
            return [first]
        rows = []
        for box in self.boxes:
            told = box.to_json()
            sides = {side: f"{told[side]:.1f}" for side in ("top", "left", "bottom", "right")}
            own = {"picture": str(box.picture), "class": box.name, "score": f"{box.score:.4f}", **sides}
            rows.append({"input": self.name, "decision": self.decision, **own, "remarks": first["remarks"]})
        return rows


class DetectionAnswers:
    """Answers of one model; see :class:`client.predicting.predicting.Answers`.

    Args:
        model: The model.
        at_least: The least score of a box that is told.
    """

    AT_ONCE = 8

    def __init__(self, model: TrainedModel, at_least: float = AT_LEAST) -> None:
        learning = learning_of(model.study)
        assert isinstance(learning, Detection)  # noqa: S101  as TASKS says
        self._model, self._learning, self._at_least = model, learning, at_least

    @torch.no_grad()
    def of(self, cases: Sequence[Given]) -> list[DetectionAnswer]:
        """What the model says of each case, in their order.

        Raises:
            ModelDiverged: It gives something that is not finite.
        """
        batch = batch_of(cases).to(self._model.device)
        output = self._model.network.on(batch)
        if not output.isfinite().all():
            raise ModelDiverged("outputs that are not finite")
        found = self._learning.found(output, batch.lengths)
        return [self._answer(case, pictures) for case, pictures in zip(cases, found, strict=True)]

    def _answer(self, case: Given, pictures: list[Found]) -> DetectionAnswer:
        layout = layout_of(case)
        boxes = [
            box
            for step, found in enumerate(pictures)
            for box in self._boxes(found, step, len(pictures), layout)
        ]
        return DetectionAnswer(About.of(case), tuple(boxes), self._at_least, layout)

    def _boxes(self, found: Found, step: int, steps: int, layout: Layout) -> list[Box]:
        sequence, names = self._model.study.sequence, self._model.study.study.classes
        assert isinstance(sequence, PictureSequence)  # noqa: S101  no other detects
        picture = 1 + layout.picture(step, steps)
        each = zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True)
        return [
            Box(picture, names[kind], score, layout.box(sides, sequence.size), tuple(sides), step)
            for sides, score, kind in each
            if score >= self._at_least
        ]
