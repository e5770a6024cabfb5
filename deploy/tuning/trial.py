"""One trial: the values it tried, and what came of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from deploy.tuning.figure import Score
from deploy.tuning.search import Values

GIVEN = 0
"""Number of the trial of the study as it is given."""

State = Literal["completed", "failed", "pruned"]


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial that has ended.

    Attributes:
        number: From 1, in the order of their beginning; ``GIVEN`` for the study as it is given.
        values: One for each key that is searched.
        state: ``pruned``: given up as hopeless before its end.
        score: What it came to; None if it did not.
        why: Why not.
        duration_s: How long it took.
        same_as: The earlier trial with the same values, whose score this one has; None if it ran.
    """

    number: int
    values: Values
    state: State
    score: Score | None = None
    why: str = ""
    duration_s: float = 0.0
    same_as: int | None = None

    @property
    def name(self) -> str:
        """What people call it."""
        return "given" if self.number == GIVEN else f"trial {self.number}"

    @property
    def remark(self) -> str:
        """What there is to say beside its figure; empty for most."""
        if self.same_as is None:
            return self.why
        return "as given" if self.same_as == GIVEN else f"as trial {self.same_as}"

    def to_dict(self) -> dict[str, Any]:
        """As written to tuning.json."""
        score = self.score
        return {
            "number": self.number,
            "values": self.values,
            "state": self.state,
            "value": score.value if score else None,
            "folds": list(score.folds) if score else [],
            "spread": score.spread if score else None,
            "why": self.why,
            "duration_s": round(self.duration_s, 3),
            "same_as": self.same_as,
        }
