"""``[study]``: what is to be learnt."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints, ValidationInfo, field_validator, model_validator

from common.study.section import Section, Text

Task = Literal["classification", "segmentation", "detection", "generation", "risk"]

BETWEEN_LABELS = "|"
"""Between the stored labels of one case, where it may have several: ``effusion|pneumonia``."""

NO_LABEL = "-"
"""What is stored of a case that has none of the labels, where it may have several."""


MOST_PIXEL_CLASSES = 254
"""A pixel's class is one byte, and 255 is a pixel that nobody has labelled."""


class Head(Section):
    """``[study]``: what is to be learnt.

    What ``labels`` means depends on the task: the classes of a case (classification, generation), of a pixel
    (segmentation; the first is the background) or of a box (detection); or whether the event came (risk; the
    second is the event).
    """

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    task: Task = "classification"
    labels: dict[str, Text]
    several_labels: bool = False

    @field_validator("labels")
    @classmethod
    def _enough_classes(cls, labels: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        named = len(set(labels.values()))
        match info.data.get("task"):
            case "classification" if named < 2:
                raise ValueError("a classification needs at least two different names")
            case "segmentation" if named < 2:
                raise ValueError("a segmentation needs the background and at least one other name after it")
            case "segmentation" if named > MOST_PIXEL_CLASSES:
                raise ValueError(f"a segmentation has at most {MOST_PIXEL_CLASSES} names")
            case "risk" if named != 2:
                raise ValueError("risk needs exactly two names: without the event, and with it")
            case "detection" | "generation" as task if named < 1:
                raise ValueError(f"{task} needs at least one name")
        return labels

    @model_validator(mode="after")
    def _several_fit(self) -> Head:
        if not self.several_labels:
            return self
        if self.task != "classification":
            raise ValueError(f"several_labels belongs to classification, and the task is {self.task}")
        for stored in self.labels:
            if BETWEEN_LABELS in stored or stored.strip() == NO_LABEL:
                raise ValueError(f"with several_labels, {stored!r} cannot be one stored label")
        return self

    @property
    def one_class_a_case(self) -> bool:
        """Whether each case has exactly one of the classes, so that counts of the classes add up to cases."""
        return self.task in ("classification", "generation", "risk") and not self.several_labels

    @property
    def learns(self) -> str:
        """The task, or ``several labels`` for a classification in which a case may have several or none."""
        return "several labels" if self.several_labels else self.task

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of their first mention; in a binary study the second is "positive"."""
        return tuple(dict.fromkeys(self.labels.values()))

    def class_index(self, stored: str) -> int | None:
        """Index of the class that a stored label value means, or None if the study does not name it."""
        name = self.labels.get(stored.strip())
        return None if name is None else self.classes.index(name)

    def class_indices(self, stored: str) -> tuple[int, ...] | None:
        """Indices of the classes of a case that may have several, or None if one is not named."""
        if stored.strip() == NO_LABEL:
            return ()
        found = [self.class_index(each) for each in stored.split(BETWEEN_LABELS)]
        known = {index for index in found if index is not None}
        return None if None in found else tuple(sorted(known))
