"""By which rules a cohort is taken in; they are fixed when it is begun."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

Sequence = Literal["rows", "slices", "frames", "steps"]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a cohort is made of.

    Attributes:
        sequence: What a case is. rows: every single picture; slices: every stack of slices; frames: every
            clip; steps: every record of measurements.
        modalities: DICOM modalities that are taken; empty for all.
        keep_derived: Take localisers and derived pictures too.
        allow_burned_in: A person has looked: the pictures show no names.
        test_share: Share of the patients that are for testing, where the labels' table does not say.
        variables: Of a record table, in the order of its columns.
        where: Columns of a record table and the values that its rows must have.
    """

    sequence: Sequence = "rows"
    modalities: tuple[str, ...] = ()
    keep_derived: bool = False
    allow_burned_in: bool = False
    test_share: float = 0.2
    variables: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        return asdict(self)

    @classmethod
    def of_json(cls, document: Any) -> Rules:
        """What :meth:`to_json` gave."""
        return TypeAdapter(cls).validate_python(document)
