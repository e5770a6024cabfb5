"""Cases through a model, a few at a time, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from client.predicting.answer import Answer, Refused
from client.predicting.case import Given
from client.predicting.classification import ClassificationAnswers
from client.predicting.detection import AT_LEAST, DetectionAnswers
from client.predicting.generation import GenerationAnswers
from client.predicting.model import TrainedModel, learns
from client.predicting.risk import RiskAnswers
from client.predicting.segmentation import SegmentationAnswers
from client.predicting.several_labels import LabelsAnswers
from common.errors import TaskNotServed


class Answers(Protocol):
    """Answers of one model, in the form of its task.

    Attributes:
        AT_ONCE: How many cases it is asked about together.
    """

    AT_ONCE: int

    def of(self, cases: Sequence[Given]) -> Sequence[Answer]:
        """What the model says of each case, in their order."""
        ...


TASKS: dict[str, Callable[[TrainedModel], Answers]] = {
    "classification": ClassificationAnswers,
    "several labels": LabelsAnswers,
    "risk": RiskAnswers,
    "segmentation": SegmentationAnswers,
    "detection": DetectionAnswers,
    "generation": GenerationAnswers,
}
"""By what a study learns."""


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """A case and what the model says of it."""

    case: Given
    answer: Answer


def answers_of(model: TrainedModel, at_least: float = AT_LEAST) -> Answers:
    """What answers for a model.

    Args:
        model: The model.
        at_least: Of a detection, the least score of a box that is told.

    Raises:
        TaskNotServed: Models of its task are not used this way.
    """
    task = learns(model.study)
    if task not in TASKS:
        raise TaskNotServed(f"predict serves {', '.join(TASKS)}; this is a model of {task}")
    return DetectionAnswers(model, at_least) if task == "detection" else TASKS[task](model)


def predicted(
    model: TrainedModel, cases: Iterable[Given | Refused], at_least: float = AT_LEAST
) -> Iterator[Predicted | Refused]:
    """What the model says of each case, and what was refused, in their order.

    Args:
        model: The model.
        cases: What it is asked about.
        at_least: As of :func:`answers_of`.

    Raises:
        TaskNotServed: Models of its task are not used this way.
        ModelDiverged: It gives something that is not finite.
    """
    answers, waiting = answers_of(model, at_least), list[Given | Refused]()
    for case in cases:
        waiting.append(case)
        if len(waiting) == answers.AT_ONCE:
            yield from _flushed(answers, waiting)
            waiting = []
    yield from _flushed(answers, waiting)


def _flushed(answers: Answers, waiting: Sequence[Given | Refused]) -> Iterator[Predicted | Refused]:
    cases = [case for case in waiting if isinstance(case, Given)]
    found = iter(answers.of(cases) if cases else ())
    for case in waiting:
        yield Predicted(case, next(found)) if isinstance(case, Given) else case
