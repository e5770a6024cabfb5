"""All that is found out about why a model says what it says of one case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from client.explaining.gradients import Attribution, attributed
from client.explaining.memory import Memory, memory_of
from client.explaining.occlusion import Occlusion, occluded
from client.explaining.sanity import Sanity, sanity_of
from client.predicting.case import Given
from client.predicting.classification import ClassificationAnswer, ClassificationAnswers
from client.predicting.model import TrainedModel, learns
from common.errors import TaskNotServed

EXPLAINED = ("classification",)


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Why a model calls a case what it calls it.

    Attributes:
        case: As the model read it.
        answer: What the model says.
        target: The class that is explained.
        attribution: Integrated gradients.
        occlusion: What is lost with each part.
        memory: The inside of the recurrent layers.
        sanity: Whether the attributions depend on the weights.
    """

    case: Given
    answer: ClassificationAnswer
    target: str
    attribution: Attribution
    occlusion: Occlusion
    memory: Memory
    sanity: Sanity

    def to_json(self) -> dict[str, Any]:
        """Its figures, without the pictures."""
        found = self.attribution
        return {
            "input": self.case.name,
            "explained": self.target,
            "log_odds": found.evidence,
            "log_odds_of_baseline": found.baseline,
            "completeness_gap": found.gap,
            "nodes": found.nodes,
            "sanity": dict(self.sanity.correlations),
        }


def explain(model: TrainedModel, case: Given, target: str | None = None) -> Explanation:
    """Why the model says what it says.

    Args:
        model: The model.
        case: As it reads it.
        target: The class to be explained; None for the one that is called.

    Raises:
        TaskNotServed: It is no classification, or has no such class.
    """
    check_served(model, target)
    answer = ClassificationAnswers(model).of([case])[0]
    classes = model.study.study.classes
    named = target or answer.decision
    index, steps = classes.index(named), case.steps.to(model.device)
    return Explanation(
        case=case,
        answer=answer,
        target=named,
        attribution=attributed(model.network, steps, index),
        occlusion=occluded(model.network, steps, index, model.study.sequence),
        memory=memory_of(model.network, steps),
        sanity=sanity_of(model, steps, index),
    )


def check_served(model: TrainedModel, target: str | None = None) -> None:
    """Refuse what is not explained.

    Raises:
        TaskNotServed: It is no classification, its encoder has no gradient, or it has no such class.
    """
    head = model.study.study
    if learns(model.study) not in EXPLAINED:
        raise TaskNotServed(
            f"explain serves {', '.join(EXPLAINED)}; this is a model of {learns(model.study)}"
        )
    if model.study.model.encoder == "hog":
        raise TaskNotServed("encoder hog counts gradients of the picture and passes none back to it")
    if target is not None and target not in head.classes:
        raise TaskNotServed(f"there is no class {target!r}; the study has {', '.join(head.classes)}")


def overlay_values(model: TrainedModel, case: Given, target: int) -> torch.Tensor:
    """(T, F) integrated gradients of a case, on the CPU."""
    return attributed(model.network, case.steps.to(model.device), target).values
