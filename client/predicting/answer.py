"""What comes of a case: an answer, in the form of its task, or a refusal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from client.predicting.case import Given
from common.errors import ConsiliumError, DataError


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

    def to_rows(self) -> Sequence[dict[str, str]]:
        """Lines of a table, by column: one, or one for each thing that was found."""
        ...


@dataclass(frozen=True, slots=True)
class About:
    """What every answer says of its case.

    Attributes:
        name: As the user named it.
        uids: SOP Instance UIDs, where it is DICOM.
        steps: Of its sequence.
        remarks: What is unusual about it, as codes (:mod:`client.predicting.contract`).
    """

    name: str
    uids: tuple[str, ...]
    steps: int
    remarks: tuple[str, ...]

    @classmethod
    def of(cls, given: Given) -> About:
        """Of a case that was given."""
        return cls(given.name, given.uids, len(given.steps), given.remarks)

    def to_json(self) -> dict[str, Any]:
        """As it is written."""
        return {
            "input": self.name,
            "sop_instance_uids": list(self.uids),
            "steps": self.steps,
            "remarks": list(self.remarks),
        }


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

    def to_rows(self) -> list[dict[str, str]]:
        """As a line of a table."""
        return [{"input": self.name, "refused": self.code}]


@dataclass(frozen=True, slots=True)
class Told:
    """What is written of a case; of an answer with a mask it is much smaller than the answer.

    Attributes:
        document: As JSON holds it.
        rows: As a table holds it.
        refused: Whether the model was not asked.
    """

    document: dict[str, Any]
    rows: tuple[dict[str, str], ...]
    refused: bool

    @classmethod
    def of(cls, result: Answer | Refused) -> Told:
        """Of an answer or a refusal."""
        return cls(result.to_json(), tuple(result.to_rows()), isinstance(result, Refused))


def attempted(name: str, read: Callable[[], Given]) -> Given | Refused:
    """The case that ``read`` gives, or why it is refused."""
    try:
        return read()
    except DataError as refused:
        return Refused.of(name, refused)


def _told(error: ConsiliumError) -> str:
    """What may be written beside a prediction: other errors' private words name paths."""
    own = type(error).__module__ == "common.errors.application" and error.private != error.public
    return f"{error.public} ({error.private})" if own else error.public
