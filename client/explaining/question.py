"""What is asked about a case: which number of the model's output is explained, and where it stands in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from client.explaining.evidence import (
    BoxEvidence,
    ClassEvidence,
    Evidence,
    LabelEvidence,
    RegionEvidence,
    RiskEvidence,
)
from client.explaining.occlusion import field_of
from client.predicting.answer import Answer
from client.predicting.case import Given
from client.predicting.classification import ClassificationAnswers, batch_of
from client.predicting.detection import Box, DetectionAnswers
from client.predicting.model import TrainedModel, learns
from client.predicting.risk import RiskAnswers
from client.predicting.segmentation import SegmentationAnswers
from client.predicting.several_labels import LabelsAnswers
from common.errors import NothingToExplain, TaskNotServed
from common.learning import learning_of
from common.learning.detection import Detection
from common.page.wording import metric, plural
from common.study import PictureSequence


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user wants explained; None for what the task has as its own.

    Attributes:
        name: A class: of a classification, of the pixels, or of the boxes.
        step: Of a risk, after which step, from 1 on.
        box: Of a detection, which box, 1 for the one with the best score.
    """

    name: str | None = None
    step: int | None = None
    box: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where in the pictures it stands that is explained.

    Attributes:
        picture: Of those that the model reads, the one to look at first, from 0 on.
        region: (T', size, size) bool, the pixels that are explained; None of a box.
        box: The box that is explained; None of pixels.
    """

    picture: int
    region: torch.Tensor | None = None
    box: Box | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What is explained of one case.

    Attributes:
        case: As far as the model has read it.
        answer: What the model says of all of it.
        target: The class that is explained, or the event.
        evidence: The number.
        said: What the model says, as a sentence.
        words: What is explained, in words.
        place: Where it stands in the pictures; None where the whole case is explained.
    """

    case: Given
    answer: Answer
    target: str
    evidence: Evidence
    said: str
    words: str
    place: Place | None = None


def question_of(model: TrainedModel, case: Given, wanted: Wanted) -> Question:
    """What is explained of a case; :func:`check_served` says first whether anything is.

    Raises:
        NothingToExplain: The case has no such step, box or pixels.
    """
    return _ASKED[learns(model.study)](model, case, wanted)


def check_served(model: TrainedModel, wanted: Wanted) -> None:
    """Refuse what is not explained.

    Raises:
        TaskNotServed: Models of its task are not, or it has no such class.
    """
    head, task = model.study.study, learns(model.study)
    if task not in _ASKED:
        raise TaskNotServed(f"explain serves {', '.join(_ASKED)}; this is a model of {task}")
    for option, given, serves in (("--step", wanted.step, "risk"), ("--box", wanted.box, "detection")):
        if given is not None and task != serves:
            raise TaskNotServed(f"{option} serves {serves}; this is a model of {task}")
    if wanted.name is not None and wanted.name not in head.classes:
        raise TaskNotServed(f"there is no class {wanted.name!r}; the study has {', '.join(head.classes)}")
    if task == "risk" and wanted.name not in (None, head.classes[1]):
        raise TaskNotServed(f"of a risk the event is explained, {head.classes[1]}")


def _of_class(model: TrainedModel, case: Given, wanted: Wanted) -> Question:
    answer = ClassificationAnswers(model).of([case])[0]
    target = wanted.name or answer.decision
    return Question(
        case=case,
        answer=answer,
        target=target,
        evidence=ClassEvidence(model.study.study.classes.index(target)),
        said=f"Called {answer.decision}. Probability of {target}: {metric(answer.probabilities[target], 2)}.",
        words=f"what speaks for {target}",
    )


def _of_label(model: TrainedModel, case: Given, wanted: Wanted) -> Question:
    answer = LabelsAnswers(model).of([case])[0]
    chances = answer.probabilities
    target = wanted.name or max(chances, key=chances.__getitem__)
    return Question(
        case=case,
        answer=answer,
        target=target,
        evidence=LabelEvidence(model.study.study.classes.index(target)),
        said=f"Called: {answer.decision}. Probability of {target}: {metric(chances[target], 2)}.",
        words=f"what speaks for {target}",
    )


def _of_risk(model: TrainedModel, case: Given, wanted: Wanted) -> Question:
    """The record ends at the step: its model goes one way, so nothing later has a part in it."""
    answer = RiskAnswers(model).of([case])[0]
    count = len(case.steps)
    step = wanted.step or count
    if step > count:
        raise NothingToExplain(f"it has {plural(count, 'step')}, and --step is {step}")
    return Question(
        case=replace(case, steps=case.steps[:step], times=case.times[:step]),
        answer=answer,
        target=answer.event,
        evidence=RiskEvidence(),
        said=f"Risk of {answer.event} after step {step} of {count}: {metric(answer.risks[step - 1], 2)}.",
        words=f"the risk of {answer.event} after step {step}",
    )


def _of_pixels(model: TrainedModel, case: Given, wanted: Wanted) -> Question:
    names, sequence = model.study.study.classes, model.study.sequence
    assert isinstance(sequence, PictureSequence)  # noqa: S101  no other is segmented
    found = _output(model, case)[0].argmax(dim=1)  # (T, h, w)
    counts = found.flatten().bincount(minlength=len(names))
    target = names.index(wanted.name) if wanted.name else 1 + int(counts[1:].argmax())
    if not counts[target]:
        raise NothingToExplain(f"the model finds no {wanted.name or 'class but the first'} in it")
    region = found == target
    field = field_of(region.flatten(1).cpu(), sequence)
    answer = SegmentationAnswers(model).of([case])[0]
    return Question(
        case=case,
        answer=answer,
        target=names[target],
        evidence=RegionEvidence(target, region),
        said=f"Found: {answer.decision}.",
        words=f"what speaks for {names[target]}, as a mean over the {int(counts[target])} pixels that are "
        "called so",
        place=Place(int(field.sum(dim=(1, 2)).argmax()), region=field),
    )


def _of_box(model: TrainedModel, case: Given, wanted: Wanted) -> Question:
    answer = DetectionAnswers(model).of([case])[0]
    boxes = [box for box in answer.boxes if wanted.name in (None, box.name)]
    boxes.sort(key=lambda box: -box.score)
    number = wanted.box or 1
    if number > len(boxes):
        kind = f"{wanted.name} box" if wanted.name else "box"
        many = plural(len(boxes), kind, f"{kind}es")
        raise NothingToExplain(f"the model finds {many} with a score of {answer.at_least:g} or more in it")
    box = boxes[number - 1]
    return Question(
        case=case,
        answer=answer,
        target=box.name,
        evidence=_of_cell(model, case, box),
        said=f"Found: {answer.decision}.",
        words=f"the score of box {number}, {box.name}, in picture {box.picture}: {metric(box.score, 2)}",
        place=Place(box.step, box=box),
    )


def _of_cell(model: TrainedModel, case: Given, box: Box) -> BoxEvidence:
    """The cell that said the box: of its picture the one whose own box and score are nearest to it."""
    learning, names = learning_of(model.study), model.study.study.classes
    assert isinstance(learning, Detection)  # noqa: S101  as the study's task says
    cells, kind = len(learning.grid.centres), names.index(box.name)
    said = _output(model, case)[0].flatten(0, 1).float().cpu()
    own = said[box.step * cells : (box.step + 1) * cells]
    sides = learning.grid.boxes(own[:, len(names) :]).clamp(0, 1)
    away = (sides - torch.tensor(box.fractions)).abs().sum(dim=1) + (own[:, kind].sigmoid() - box.score).abs()
    return BoxEvidence(box.step * cells + int(away.argmin()), kind)


@torch.no_grad()
def _output(model: TrainedModel, case: Given) -> torch.Tensor:
    return model.network.on(batch_of([case]).to(model.device))


_ASKED: Mapping[str, Callable[[TrainedModel, Given, Wanted], Question]] = {
    "classification": _of_class,
    "several labels": _of_label,
    "risk": _of_risk,
    "segmentation": _of_pixels,
    "detection": _of_box,
}
"""By what a study learns."""
