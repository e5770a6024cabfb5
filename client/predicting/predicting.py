"""Cases through a model, a few at a time, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from client.predicting.answer import Answer, Refused
from client.predicting.case import Given
from client.predicting.classification import ClassificationAnswers
from client.predicting.model import TrainedModel, learns
from common.errors import TaskNotServed

BATCH = 32


class Answers(Protocol):
    """Answers of one model, in the form of its task."""

    def of(self, cases: Sequence[Given]) -> Sequence[Answer]:
        """What the model says of each case, in their order."""
        ...


TASKS: dict[str, Callable[[TrainedModel], Answers]] = {"classification": ClassificationAnswers}
"""By the task of a study."""


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """A case and what the model says of it."""

    case: Given
    answer: Answer


def predicted(model: TrainedModel, cases: Iterable[Given | Refused]) -> Iterator[Predicted | Refused]:
    """What the model says of each case, and what was refused, in their order.

    Raises:
        TaskNotServed: Models of its task are not used this way.
        ModelDiverged: It gives something that is not finite.
    """
    task = learns(model.study)
    if task not in TASKS:
        raise TaskNotServed(f"predict serves {', '.join(TASKS)}; this is a model of {task}")
    answers, waiting = TASKS[task](model), list[Given | Refused]()
    for case in cases:
        waiting.append(case)
        if len(waiting) == BATCH:
            yield from _flushed(answers, waiting)
            waiting = []
    yield from _flushed(answers, waiting)


def _flushed(answers: Answers, waiting: Sequence[Given | Refused]) -> Iterator[Predicted | Refused]:
    cases = [case for case in waiting if isinstance(case, Given)]
    found = iter(answers.of(cases) if cases else ())
    for case in waiting:
        yield Predicted(case, next(found)) if isinstance(case, Given) else case
