"""``[study]``: what is to be learnt."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints, field_validator

from common.study.section import Section, Text

Task = Literal["classification"]


class Head(Section):
    """``[study]``: what is to be learnt."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    task: Task = "classification"
    labels: dict[str, Text]
    several_labels: bool = False

    @field_validator("labels")
    @classmethod
    def _two_classes(cls, labels: dict[str, str]) -> dict[str, str]:
        if len(set(labels.values())) < 2:
            raise ValueError("a classification needs at least two different names")
        return labels

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
