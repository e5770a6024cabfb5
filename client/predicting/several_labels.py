"""What a model of several labels a case says of a case: of each label by itself whether the case has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from client.predicting.answer import About
from client.predicting.calibration import calibrated, called
from client.predicting.case import Given
from client.predicting.classification import batch_of
from client.predicting.model import TrainedModel
from client.predicting.uncertainty import Uncertainty, Versions, uncertainties
from common.errors import ModelDiverged
from common.study.head import BETWEEN_LABELS


@dataclass(frozen=True, slots=True)
class LabelsAnswer:
    """What a model says of one case.

    Attributes:
        about: The case.
        probabilities: Of each label, calibrated; they have no sum.
        called: The labels that the case is said to have.
        uncertainty: How sure the model is of each label.
    """

    about: About
    probabilities: Mapping[str, float]
    called: tuple[str, ...]
    uncertainty: Mapping[str, Uncertainty]

    @property
    def name(self) -> str:
        """Of the case, as the user named it."""
        return self.about.name

    @property
    def decision(self) -> str:
        """The labels that are called, or ``none``."""
        return BETWEEN_LABELS.join(self.called) or "none"

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            **self.about.to_json(),
            "probabilities": dict(self.probabilities),
            "decision": self.decision,
            "labels": list(self.called),
            "uncertainty": {name: unsure.to_json() for name, unsure in self.uncertainty.items()},
        }

    def to_rows(self) -> list[dict[str, str]]:
        """As a line of a table."""
        return [
            {
                "input": self.name,
                "decision": self.decision,
                **{f"p({name})": f"{value:.4f}" for name, value in self.probabilities.items()},
                **{f"entropy({name})": f"{each.entropy:.4f}" for name, each in self.uncertainty.items()},
                "remarks": " ".join(self.about.remarks),
            }
        ]


class LabelsAnswers:
    """Answers of one model; see :class:`client.predicting.predicting.Answers`."""

    AT_ONCE = 32

    def __init__(self, model: TrainedModel) -> None:
        self._model, self._versions = model, Versions(model)

    @torch.no_grad()
    def of(self, cases: Sequence[Given]) -> list[LabelsAnswer]:
        """What the model says of each case, in their order.

        Raises:
            ModelDiverged: It gives something that is not finite.
        """
        batch, calibration = batch_of(cases).to(self._model.device), self._model.calibration
        logits = self._model.network.on(batch).float().cpu()
        if not logits.isfinite().all():
            raise ModelDiverged("outputs that are not finite")
        probabilities = calibrated(logits, calibration, several=True)
        decided = called(probabilities, calibration, several=True)
        unsure = self._unsure(calibrated(self._versions.outputs(batch), calibration, several=True))
        return [
            self._answer(case, row.tolist(), yes.tolist(), each)
            for case, row, yes, each in zip(cases, probabilities, decided, unsure, strict=True)
        ]

    def _unsure(self, versions: torch.Tensor) -> list[list[Uncertainty]]:
        """By case and label, of (M, B, C): each label is a question of two answers."""
        count = versions.shape[2]
        asked = torch.stack([1 - versions, versions], dim=-1).flatten(1, 2)
        found = uncertainties(asked, self._versions.method)
        return [found[first : first + count] for first in range(0, len(found), count)]

    def _answer(
        self, case: Given, probabilities: list[float], yes: list[bool], unsure: list[Uncertainty]
    ) -> LabelsAnswer:
        names = self._model.study.study.classes
        return LabelsAnswer(
            about=About.of(case),
            probabilities=dict(zip(names, probabilities, strict=True)),
            called=tuple(name for name, has in zip(names, yes, strict=True) if has),
            uncertainty=dict(zip(names, unsure, strict=True)),
        )
