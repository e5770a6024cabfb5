"""What a classification model says of a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from client.predicting.calibration import calibrated, called
from client.predicting.case import Given
from client.predicting.familiarity import Familiarity, energies
from client.predicting.model import TrainedModel
from client.predicting.uncertainty import Uncertainty, Versions, uncertainties
from common.errors import ModelDiverged
from common.sequences import SequenceBatch, pad


@dataclass(frozen=True, slots=True)
class ClassificationAnswer:
    """What a model says of one case.

    Attributes:
        name: As the user named it.
        uids: SOP Instance UIDs, where it is DICOM.
        steps: Of its sequence.
        probabilities: By class, calibrated.
        decision: The class that is called.
        uncertainty: How sure the model is.
        familiarity: How far the case is like those that it was trained on.
    """

    name: str
    uids: tuple[str, ...]
    steps: int
    probabilities: Mapping[str, float]
    decision: str
    uncertainty: Uncertainty
    familiarity: Familiarity

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        familiar = self.familiarity
        return {
            "input": self.name,
            "sop_instance_uids": list(self.uids),
            "steps": self.steps,
            "probabilities": dict(self.probabilities),
            "decision": self.decision,
            "uncertainty": self.uncertainty.to_json(),
            "out_of_distribution": {
                "energy": familiar.energy,
                "largest_probability": familiar.confidence,
                "remarks": list(familiar.remarks),
            },
        }

    def to_rows(self) -> list[dict[str, str]]:
        """As a line of a table."""
        unsure, familiar = self.uncertainty, self.familiarity
        information = "" if unsure.information is None else f"{unsure.information:.4f}"
        row = {
            "input": self.name,
            "decision": self.decision,
            **{f"p({name})": f"{value:.4f}" for name, value in self.probabilities.items()},
            "entropy": f"{unsure.entropy:.4f}",
            "information": information,
            "energy": f"{familiar.energy:.4f}",
            "remarks": " ".join(familiar.remarks),
        }
        return [row]


class ClassificationAnswers:
    """Answers of one model.

    Attributes:
        AT_ONCE: How many cases it is asked about together.

    Args:
        model: The model.
    """

    AT_ONCE = 32

    def __init__(self, model: TrainedModel) -> None:
        self._model, self._versions = model, Versions(model)

    @torch.no_grad()
    def of(self, cases: Sequence[Given]) -> list[ClassificationAnswer]:
        """What the model says of each case, in their order.

        Raises:
            ModelDiverged: It gives something that is not finite.
        """
        batch = batch_of(cases).to(self._model.device)
        logits = self._model.network(batch.steps, batch.lengths).float().cpu()
        if not logits.isfinite().all():
            raise ModelDiverged("outputs that are not finite")
        calibration = self._model.calibration
        probabilities = calibrated(logits, calibration)
        decided = called(probabilities, calibration)
        unsure = uncertainties(calibrated(self._versions.outputs(batch), calibration), self._versions.method)
        every = zip(cases, probabilities, decided, unsure, energies(logits), strict=True)
        return [self._answer(*each) for each in every]

    def _answer(
        self,
        case: Given,
        probabilities: torch.Tensor,
        decided: int,
        unsure: Uncertainty,
        energy: torch.Tensor,
    ) -> ClassificationAnswer:
        classes = self._model.study.study.classes
        return ClassificationAnswer(
            name=case.name,
            uids=case.uids,
            steps=len(case.steps),
            probabilities=dict(zip(classes, probabilities.tolist(), strict=True)),
            decision=classes[int(decided)],
            uncertainty=unsure,
            familiarity=Familiarity(float(energy), float(probabilities.max()), case.remarks),
        )


def batch_of(cases: Sequence[Given]) -> SequenceBatch:
    """The cases as one padded batch, without targets."""
    return pad([case.steps for case in cases], torch.zeros(len(cases), dtype=torch.int64))
