"""All that is found out about why a model says what it says of one case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from client.explaining.gradients import Attribution, attributed
from client.explaining.memory import Memory, memory_of
from client.explaining.occlusion import Occlusion, occluded
from client.explaining.question import Question, Wanted, check_served, question_of
from client.explaining.sanity import Sanity, sanity_of
from client.predicting.case import Given
from client.predicting.model import TrainedModel


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Why a model says of a case what it says.

    Attributes:
        question: What is explained.
        attribution: Integrated gradients.
        occlusion: What is lost with each part.
        memory: The inside of the recurrent layers.
        sanity: Whether the attributions depend on the weights.
    """

    question: Question
    attribution: Attribution
    occlusion: Occlusion
    memory: Memory
    sanity: Sanity

    @property
    def case(self) -> Given:
        """As far as the model has read it."""
        return self.question.case

    @property
    def target(self) -> str:
        """The class that is explained, or the event."""
        return self.question.target

    def to_json(self) -> dict[str, Any]:
        """Its figures, without the pictures."""
        found, box = self.attribution, self.question.place and self.question.place.box
        return {
            "input": self.case.name,
            "decision": self.question.answer.decision,
            "explained": self.target,
            "in_words": self.question.words,
            **({"box": box.to_json()} if box else {}),
            "log_odds": found.evidence,
            "log_odds_of_baseline": found.baseline,
            "completeness_gap": found.gap,
            "nodes": found.nodes,
            "sanity": dict(self.sanity.correlations),
        }


def explain(model: TrainedModel, case: Given, wanted: Wanted | None = None) -> Explanation:
    """Why the model says what it says.

    Args:
        model: The model.
        case: As it reads it.
        wanted: What is to be explained; None for what the task has as its own: the class that is called, the
            risk after the last step, the class with the largest region, the box with the best score.

    Raises:
        TaskNotServed: Models of its task are not explained, or it has no such class.
        NothingToExplain: The case has no such step, box or pixels.
    """
    wanted = wanted or Wanted()
    check_served(model, wanted)
    question = question_of(model, case, wanted)
    steps, evidence = question.case.steps.to(model.device), question.evidence
    return Explanation(
        question=question,
        attribution=attributed(model.network, steps, evidence),
        occlusion=occluded(model.network, steps, evidence, model.study.sequence),
        memory=memory_of(model.network, steps),
        sanity=sanity_of(model, steps, evidence),
    )
