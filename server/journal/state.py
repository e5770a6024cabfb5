"""How a run stands, for whoever asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from server.journal.protocol import Course


@dataclass(frozen=True, slots=True)
class RunState:
    """How a run stands, for whoever asks.

    Attributes:
        name: Of the run.
        ended: Whether nothing more will be done.
        finished: How many rounds are.
        course: The round that is under way.
        contributed: Who has sent an update that counts.
        refused: Why others have not, by site, with the time since when.
        late: Whose updates of earlier rounds were refused as late in this one, likewise.
    """

    name: str
    ended: bool
    finished: int
    course: Course | None
    contributed: tuple[str, ...]
    refused: Mapping[str, tuple[str, str]]
    late: Mapping[str, tuple[str, str]]
