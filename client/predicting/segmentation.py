"""What a segmentation model says of a case: the class of each pixel, on the pixels that were given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from client.predicting.answer import About
from client.predicting.case import Given
from client.predicting.classification import batch_of
from client.predicting.layout import Layout
from client.predicting.model import TrainedModel
from common.errors import InputOtherKind, ModelDiverged
from common.sequences import from_steps
from common.study import Patches, Rows, Slices

NOTHING = "nothing found"


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of a case is of one class.

    Attributes:
        pixels: Of the pictures as given, in each of them.
        square_millimetres: In each of them; None where the size of a pixel is not known.
        millilitres: Of the whole stack; None where it is none, or its spacing is not known.
        confidence: Mean probability of the class over the pixels that have it, as the model gives it; None
            where there are none.
    """

    pixels: tuple[int, ...]
    square_millimetres: tuple[float, ...] | None
    millilitres: float | None
    confidence: float | None

    def to_json(self) -> dict[str, Any]:
        """As it is written."""
        area = self.square_millimetres
        return {
            "pixels": sum(self.pixels),
            "pixels_by_picture": list(self.pixels),
            "square_millimetres_by_picture": None if area is None else list(area),
            "millilitres": self.millilitres,
            "mean_probability": self.confidence,
        }

    def to_row(self, name: str) -> dict[str, str]:
        """Its cells of a line; of several pictures' areas the largest."""
        row = {f"pixels({name})": str(sum(self.pixels))}
        if self.millilitres is not None:
            row[f"ml({name})"] = f"{self.millilitres:.4g}"
        elif self.square_millimetres is not None:
            row[f"mm2({name})"] = f"{max(self.square_millimetres):.4g}"
        return row


@dataclass(frozen=True, slots=True)
class SegmentationAnswer:
    """What a model says of one case.

    Attributes:
        about: The case.
        extents: Of each class but the first, which is the background.
        field: (T', size, size) uint8 class of each pixel that the model reads.
        layout: How those lie in the pictures that were given.
    """

    about: About
    extents: Mapping[str, Extent]
    field: NDArray[np.uint8] = field(compare=False, repr=False)
    layout: Layout

    @property
    def name(self) -> str:
        """Of the case, as the user named it."""
        return self.about.name

    @property
    def decision(self) -> str:
        """The classes that are somewhere in it."""
        return ", ".join(name for name, extent in self.extents.items() if any(extent.pixels)) or NOTHING

    @property
    def mask(self) -> NDArray[np.uint8]:
        """(T, H, W) class of each pixel of the pictures that were given."""
        return self.layout.laid_back(self.field)

    def to_json(self) -> dict[str, Any]:
        """All of it but the mask."""
        return {
            **self.about.to_json(),
            "decision": self.decision,
            "shape": list(self.layout.shape),
            "spacing_mm": list(self.layout.spacing_mm),
            "classes": {name: extent.to_json() for name, extent in self.extents.items()},
        }

    def to_rows(self) -> list[dict[str, str]]:
        """As a line of a table."""
        row = {"input": self.name, "decision": self.decision}
        for name, extent in self.extents.items():
            row |= extent.to_row(name)
        return [{**row, "remarks": " ".join(self.about.remarks)}]


class SegmentationAnswers:
    """Answers of one model; see :class:`client.predicting.predicting.Answers`."""

    AT_ONCE = 1  # a stack's logits may take gigabytes

    def __init__(self, model: TrainedModel) -> None:
        self._model = model

    def of(self, cases: Sequence[Given]) -> list[SegmentationAnswer]:
        """What the model says of each case, in their order.

        Raises:
            ModelDiverged: It gives something that is not finite.
        """
        return [self._answer(case) for case in cases]

    def _answer(self, case: Given) -> SegmentationAnswer:
        layout = layout_of(case)
        classes, probabilities = self._pictures(case)
        mask = layout.laid_back(classes)
        names = self._model.study.study.classes
        extents = {
            name: self._extent(mask == number, layout, probabilities[classes == number])
            for number, name in enumerate(names)
            if number
        }
        return SegmentationAnswer(About.of(case), extents, classes, layout)

    @torch.no_grad()
    def _pictures(self, case: Given) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """(T', size, size) the most probable class of each pixel, and how probable it is."""
        logits = self._model.network.on(batch_of([case]).to(self._model.device)).float()
        if not logits.isfinite().all():
            raise ModelDiverged("outputs that are not finite")
        probability, chosen = logits[0].softmax(dim=1).max(dim=1)
        return self._put_together(chosen.to(torch.uint8)), self._put_together(probability)

    def _put_together(self, steps: torch.Tensor) -> NDArray[Any]:
        """(T, h, w) what is said of steps as whole pictures."""
        sequence = self._model.study.sequence
        if isinstance(sequence, Rows | Patches):
            return from_steps(steps.flatten(1).cpu(), sequence)[None].numpy()
        found: NDArray[Any] = steps.cpu().numpy()
        return found

    def _extent(self, own: NDArray[np.bool_], layout: Layout, probabilities: NDArray[np.float32]) -> Extent:
        """Of a class; ``own`` are its pixels among those given."""
        pixels = tuple(int(count) for count in own.sum(axis=(1, 2)))
        area, volume = layout.pixel_mm2, layout.voxel_ml
        stack = isinstance(self._model.study.sequence, Slices) and volume is not None
        return Extent(
            pixels=pixels,
            square_millimetres=None if area is None else tuple(count * area for count in pixels),
            millilitres=sum(pixels) * volume if stack and volume is not None else None,
            confidence=float(probabilities.mean()) if probabilities.size else None,
        )


def layout_of(case: Given) -> Layout:
    """How a case's pictures lie on the model's grid.

    Raises:
        InputOtherKind: It is no case of pictures.
    """
    if case.layout is None:
        raise InputOtherKind(f"{case.name} has no pictures")
    return case.layout
