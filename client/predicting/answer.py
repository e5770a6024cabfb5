"""What comes of a case: an answer, in the form of its task, or a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from common.errors import ConsiliumError


class Answer(Protocol):
    """What a model says of one case."""

    @property
    def name(self) -> str:
        """Of the case, as the user named it."""
        ...

    @property
    def decision(self) -> str:
        """In a word."""
        ...

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        ...

    def to_row(self) -> dict[str, str]:
        """What a line of a table holds, by column; the same columns for every answer of a model."""
        ...


@dataclass(frozen=True, slots=True)
class Refused:
    """A case that the model was not asked about.

    Attributes:
        name: As the user named it.
        code: Of the reason (docs/errors.md).
        message: What exactly is wrong; no value out of a file stands in it.
        hint: What to do.
    """

    name: str
    code: str
    message: str
    hint: str

    @classmethod
    def of(cls, name: str, error: ConsiliumError) -> Refused:
        """The refusal that an error means."""
        return cls(name, error.code, _told(error), error.hint)

    def to_json(self) -> dict[str, Any]:
        """As it is written."""
        return {
            "input": self.name,
            "refused": {"code": self.code, "message": self.message, "hint": self.hint},
        }

    def to_row(self) -> dict[str, str]:
        """As a line of a table."""
        return {"input": self.name, "refused": self.code}


def _told(error: ConsiliumError) -> str:
    """What may be written beside a prediction: other errors' private words name paths."""
    own = type(error).__module__ == "common.errors.application" and error.private != error.public
    return f"{error.public} ({error.private})" if own else error.public
