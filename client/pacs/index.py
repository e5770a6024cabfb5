"""Answers of an archive, level by level of DICOM's hierarchy, whatever protocol they came by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Listed:
    """An instance that an archive holds: UIDs of its study, series, itself and its SOP class (0008,0016)."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: values by keyword, several values with ``\\`` between them.

    Attributes:
        values: Keyword to text; empty where there is no value, missing where the archive does not say.
        partly: The archive said that it left keys out of account (C-FIND status 0xFF01).
    """

    values: Mapping[str, str] = field(default_factory=dict)
    partly: bool = False

    def ignores(self, keyword: str) -> bool:
        """Whether the archive left a key that was asked for out of account."""
        return keyword not in self.values or (self.partly and not self.values[keyword])

    def text(self, keyword: str) -> str:
        """The value, or an empty text."""
        return self.values.get(keyword, "")


class Index(Protocol):
    """Answers at one level of DICOM's hierarchy, below the study and series given."""

    @property
    def where(self) -> str:
        """``host:port`` for messages."""
        ...

    def studies(self, keys: Mapping[str, str], wanted: Sequence[str], most: int) -> Iterator[Answer]:
        """At most about ``most`` studies."""
        ...

    def series(
        self, study_uid: str, keys: Mapping[str, str], wanted: Sequence[str], most: int
    ) -> Iterator[Answer]:
        """At most about ``most`` series of a study."""
        ...

    def instances(
        self, study_uid: str, series_uid: str, wanted: Sequence[str], most: int
    ) -> Iterator[Answer]:
        """At most about ``most`` instances of a series."""
        ...
