"""When a study has learnt what it can: its sites' validation cases were not predicted better for a while.

Early stopping (Prechelt 1998, "Early stopping - but when?"): of the models that were tested, the one that is
best on validation cases is kept, and nothing is trained any more after ``patience`` tests in a row that found
none better. Invariant: what is decided is a function of what run.json, and with it the journal, says of each
round. A round in which no site counted, or in which the figure is undefined, says nothing either way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.metrics import LOSS, EvaluationSums, Figure, sums_kind
from common.study import Study


@dataclass(frozen=True, slots=True)
class Standing:
    """How a study stands on its validation cases.

    Attributes:
        best: The round whose model is kept; None before any has a figure.
        value: Its figure.
        since: Rounds with a figure in a row, after that one, that were no better.
    """

    best: int | None = None
    value: float | None = None
    since: int = 0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a study goes on without getting better, and by what.

    Attributes:
        tests: So many in a row without a better figure end it.
        figure: The figure.
        min_delta: By how much it must be better to count as better.
    """

    tests: int
    figure: Figure
    min_delta: float = 0.0

    @classmethod
    def of(cls, study: Study) -> Patience | None:
        """The patience of a study; None of one that always goes on to its last round."""
        asked = study.federation
        if not asked.patience:
            return None
        figure = LOSS if asked.patience_by == "loss" else sums_kind(study).FIGURES[0]
        return cls(asked.patience, figure, asked.patience_min_delta)

    def validation(
        self, counts: Mapping[str, EvaluationSums], classes: Sequence[str]
    ) -> dict[str, Any] | None:
        """What run.json says of a round's validation cases; None where nobody counted.

        Args:
            counts: Each site's, of the model that would be kept if the study ended with this round.
            classes: Names of the study's classes.
        """
        if not counts:
            return None
        sites = sorted(counts)
        total = type(counts[sites[0]]).total(counts[site] for site in sites)
        figures = total.figures(classes)
        value, loss = (_finite(figures.get(key)) for key in (self.figure.key, LOSS.key))
        return {"n": total.n, "sites": sites, "figure": self.figure.key, "value": value, "loss": loss}

    def standing(self, rounds: Sequence[Mapping[str, Any]]) -> Standing:
        """How a study stands after rounds as run.json has them, the first one first."""
        now = Standing()
        for entry in rounds:
            value = (entry.get("validation") or {}).get("value")
            if value is not None:
                now = self._after(now, entry["round"], value)
        return now

    def is_over(self, standing: Standing) -> bool:
        """Whether nothing more is to be trained."""
        return standing.since >= self.tests

    def _after(self, now: Standing, number: int, value: float) -> Standing:
        if now.value is None or self.figure.better(value, now.value) > self.min_delta:
            return Standing(number, value)
        return Standing(now.best, now.value, now.since + 1)


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
