"""What a risk model says of a case: after each of its steps, how likely it is that the event comes."""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True)
class RiskAnswer:
    """What a model says of one case.

    Attributes:
        about: The case.
        event: Name of the event.
        risks: After each step, by what was seen until then.
        times: Of each step in the record's own units; empty where not known.
        decision: The class that is called after the last step.
        uncertainty: How sure the model is of the last.
    """

    about: About
    event: str
    risks: tuple[float, ...]
    times: tuple[float, ...]
    decision: str
    uncertainty: Uncertainty

    @property
    def name(self) -> str:
        """Of the case, as the user named it."""
        return self.about.name

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        times = self.times or (None,) * len(self.risks)
        return {
            **self.about.to_json(),
            "event": self.event,
            "risk": self.risks[-1],
            "decision": self.decision,
            "risk_by_step": [
                {"step": number, "time": time, "risk": risk}
                for number, (time, risk) in enumerate(zip(times, self.risks, strict=True), start=1)
            ],
            "uncertainty": self.uncertainty.to_json(),
        }

    def to_rows(self) -> list[dict[str, str]]:
        """The last step as a line of a table."""
        unsure = self.uncertainty
        information = "" if unsure.information is None else f"{unsure.information:.4f}"
        row = {
            "input": self.name,
            "decision": self.decision,
            f"risk({self.event})": f"{self.risks[-1]:.4f}",
            "steps": str(self.about.steps),
            "time": f"{self.times[-1]:g}" if self.times else "",
            "entropy": f"{unsure.entropy:.4f}",
            "information": information,
            "remarks": " ".join(self.about.remarks),
        }
        return [row]


class RiskAnswers:
    """Answers of one model; see :class:`client.predicting.predicting.Answers`."""

    AT_ONCE = 32

    def __init__(self, model: TrainedModel) -> None:
        self._model, self._versions = model, Versions(model)

    @torch.no_grad()
    def of(self, cases: Sequence[Given]) -> list[RiskAnswer]:
        """What the model says of each case, in their order.

        Raises:
            ModelDiverged: It gives something that is not finite.
        """
        batch = batch_of(cases).to(self._model.device)
        probabilities = self._both(self._model.network.on(batch))
        if not probabilities.isfinite().all():
            raise ModelDiverged("outputs that are not finite")
        rows, last = torch.arange(len(cases)), batch.lengths - 1
        of_last = self._both(self._versions.outputs(batch))[:, rows, last]
        unsure = uncertainties(of_last, self._versions.method)
        decided = called(probabilities[rows, last], self._model.calibration)
        every = zip(cases, probabilities[..., 1], decided, unsure, strict=True)
        return [self._answer(*each) for each in every]

    def _both(self, logits: torch.Tensor) -> torch.Tensor:
        """(..., 2) probabilities without and with the event, of (...) log-odds of it."""
        pair = torch.stack([torch.zeros_like(logits), logits], dim=-1)
        return calibrated(pair, self._model.calibration)

    def _answer(self, case: Given, risks: torch.Tensor, decided: int, unsure: Uncertainty) -> RiskAnswer:
        classes = self._model.study.study.classes
        return RiskAnswer(
            about=About.of(case),
            event=classes[1],
            risks=tuple(risks[: len(case.steps)].tolist()),
            times=case.times,
            decision=classes[int(decided)],
            uncertainty=unsure,
        )
