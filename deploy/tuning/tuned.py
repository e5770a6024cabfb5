"""A search as far as it is: what was asked, its trials, the best of them, and what is to be thought of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from common import __version__
from common.metrics import Figure
from common.study import Study
from deploy.tuning.figure import luck
from deploy.tuning.notebook import Method
from deploy.tuning.search import Values
from deploy.tuning.spending import Spending
from deploy.tuning.trial import Trial


@dataclass(frozen=True, slots=True)
class Tuned:
    """A search and its trials.

    Attributes:
        study: As it is given.
        keys: What is searched.
        figure: What trials are compared by.
        method: Who said what to try.
        folds: Of each trial.
        seed: Of everything.
        wanted: Trials that were asked for.
        sites: Training patients of each site.
        trials: Those that have ended, in order.
        importance: Share of each key in what sets the best trials apart; empty if nothing can be said.
        spending: What the trials would cost the patients; empty without private training.
        tested: Each time that the test split was asked: for which trial, and what it said.
        given: What the study comes to as it is given; None while that is not known.
        best_study: Of the best trial.
    """

    study: Study
    keys: tuple[str, ...]
    figure: Figure
    method: Method
    folds: int
    seed: int
    wanted: int
    sites: Mapping[str, int]
    trials: tuple[Trial, ...]
    importance: Mapping[str, float]
    spending: tuple[Spending, ...]
    tested: tuple[Mapping[str, Any], ...]
    given: Trial | None = None
    best_study: Study | None = None

    @property
    def best(self) -> Trial | None:
        """The best trial, or the given study; the first of equals. None while none has come to a figure."""
        return best_of(self.all, self.figure)

    @property
    def all(self) -> tuple[Trial, ...]:
        """The given study, if it was tried, and the trials."""
        return self.trials if self.given is None else (self.given, *self.trials)

    @property
    def ran(self) -> list[Trial]:
        """Trials with a figure of their own."""
        return [trial for trial in self.all if trial.score is not None and trial.same_as is None]

    @property
    def luck(self) -> float:
        """See :func:`deploy.tuning.figure.luck`."""
        best = self.best
        return luck(len(self.ran), best.score.folds) if best and best.score else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As written to tuning.json."""
        best = self.best
        return {
            "consilium": __version__,
            "study": self.study.study.name,
            "metric": self.figure.key,
            "higher_is_better": self.figure.higher_is_better,
            "method": self.method,
            "folds": self.folds,
            "seed": self.seed,
            "wanted": self.wanted,
            "keys": list(self.keys),
            "sites": dict(self.sites),
            "given": self.given.to_dict() if self.given else None,
            "best": best.to_dict() if best else None,
            "luck": self.luck,
            "importance": dict(self.importance),
            "spending": [asdict(each) for each in self.spending],
            "tested": [dict(each) for each in self.tested],
            "trials": [trial.to_dict() for trial in self.trials],
        }


def best_of(trials: tuple[Trial, ...], figure: Figure) -> Trial | None:
    """The best of some trials, the first of equals."""
    sign = 1 if figure.higher_is_better else -1
    ended = [trial for trial in trials if trial.score is not None]
    return max(ended, key=lambda t: (sign * t.score.value, -t.number) if t.score else (0, 0), default=None)


def value_at(document: Any, key: str) -> Any:
    """The value at a dotted key of nested tables; None where there is none."""
    for part in key.split("."):
        document = document.get(part) if isinstance(document, dict) else None
    return document


def short_names(keys: tuple[str, ...]) -> dict[str, str]:
    """The last part of each key where that tells it from the others, else the whole key."""
    ends = [key.rpartition(".")[2] for key in keys]
    return {key: end if ends.count(end) == 1 else key for key, end in zip(keys, ends, strict=True)}


def shown(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return "not set"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(inner)}" for key, inner in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_tried(values: Values, keys: tuple[str, ...]) -> str:
    """Values in one line."""
    names = short_names(keys)
    return "  ".join(f"{names[key]} {shown(values[key])}" for key in keys)
