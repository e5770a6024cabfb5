"""The figure that trials are compared by, and how far it is to be believed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, stdev

from common.errors import InvalidValue
from common.metrics import LOSS, EvaluationSums, Figure, sums_kind
from common.study import Study


@dataclass(frozen=True, slots=True)
class Score:
    """What a trial came to.

    Attributes:
        value: The figure over all held-out cases together.
        folds: The figure of each fold.
    """

    value: float
    folds: tuple[float, ...]

    @property
    def spread(self) -> float:
        """Standard deviation over the folds."""
        return stdev(self.folds) if len(self.folds) > 1 else 0.0


def figure_of(study: Study, name: str | None) -> Figure:
    """The figure of that name, or the one that speaks for the study's task.

    Raises:
        InvalidValue: The task has none of that name.
    """
    known = (*sums_kind(study).FIGURES, LOSS)
    if name is None:
        return known[0]
    for figure in known:
        if figure.key == name:
            return figure
    names = ", ".join(figure.key for figure in known)
    raise InvalidValue(f"--metric {name}: {study.study.task} has {names}", hint="Name one of these.")


def read_off(sums: EvaluationSums, figure: Figure, study: Study) -> float | None:
    """The figure of some counts; None where it is not defined."""
    value = sums.figures(study.study.classes).get(figure.key)
    return None if value is None or not math.isfinite(value) else float(value)


def luck(trials: int, folds: Sequence[float]) -> float:
    """By how much the best of some trials looks better than it is, if all were equally good: at most about.

    The expected greatest of n normal draws (Blom 1958) times the standard error of a mean over the folds.
    Trials share their folds, so their errors go together and the true figure is smaller.

    Args:
        trials: How many there were to choose from.
        folds: The best one's figure in each fold.
    """
    if trials < 2 or len(folds) < 2:
        return 0.0
    greatest = NormalDist().inv_cdf((trials - 0.375) / (trials + 0.25))
    return greatest * stdev(folds) / math.sqrt(len(folds))
