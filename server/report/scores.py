"""What a model scores, as values read from run.json; which figures there are, the document itself says.

A number that is missing, null or not finite is None: undefined, never zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from common.metrics import ClassificationSums, Figure

Number = float | None
Object = Mapping[str, Any]

_LATER = frozenset({"auprc"})
"""Figures of a classification that documents of the first release have not."""

_BY_CLASS = "_by_class"


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of one receiver operating characteristic."""

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Bin:
    """Test cases for which the model was about equally sure."""

    confidence: float
    accuracy: float
    n: int


@dataclass(frozen=True, slots=True)
class Interval:
    """From ``low`` to ``high``."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Scores:
    """What one model scores on one set of test cases.

    Attributes:
        n: Test cases.
        values: Figures by key, the loss among them.
        labels: Test cases of each class; empty in a task that has none.
        confusion: Counts by true and predicted class; this and all below at the end of a run only.
        roc: A curve by class.
        calibration: Bins that hold cases.
        by_class: Figures by class and key; empty where they are those of all.
        intervals: 95 % intervals by key, where the run has measured them by a bootstrap over patients.
    """

    n: int
    values: Mapping[str, Number]
    labels: Mapping[str, int]
    confusion: tuple[tuple[int, ...], ...] = ()
    roc: Mapping[str, Curve] = field(default_factory=dict)
    calibration: tuple[Bin, ...] = ()
    by_class: Mapping[str, Mapping[str, Number]] = field(default_factory=dict)
    intervals: Mapping[str, Interval] = field(default_factory=dict)

    def value(self, key: str) -> Number:
        """The figure of that key, or None where it is undefined."""
        return self.values.get(key)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model on the test cases of all sites together and of each site."""

    pooled: Scores
    sites: Mapping[str, Scores]
    round: int | None = None


def figures_of(document: Object) -> tuple[Figure, ...]:
    """What the run shows of a model, the figure that speaks for it first.

    A document of the first release does not say, and is of a classification.
    """
    told, known = document.get("figures"), {item.name for item in fields(Figure)}
    if not told:
        return tuple(figure for figure in ClassificationSums.FIGURES if figure.key not in _LATER)
    return tuple(Figure(**{key: value for key, value in each.items() if key in known}) for each in told)


def evaluation_of(item: Object, round_number: int | None = None) -> Evaluation:
    """One model's scores as they stand in the document."""
    sites = {name: scores_of(scores) for name, scores in item["sites"].items()}
    return Evaluation(scores_of(item["pooled"]), sites, round_number)


def scores_of(item: Object) -> Scores:
    """One model's scores on one set of test cases."""
    roc = (item.get("roc") or {}).items()
    return Scores(
        n=item["n"],
        values={key: number_of(value) for key, value in item.items() if _is_figure(key, value)},
        labels=item.get("labels") or {},
        confusion=tuple(tuple(row) for row in item.get("confusion") or ()),
        roc={name: Curve(tuple(c["fpr"]), tuple(c["tpr"])) for name, c in roc if c and c["fpr"]},
        calibration=_bins(item.get("calibration")),
        by_class=_by_class(item),
        intervals={key: Interval(*ends) for key, ends in (item.get("intervals") or {}).items()},
    )


def number_of(value: Any) -> Number:
    """A number as it is, and whatever else as undefined."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _is_figure(key: str, value: Any) -> bool:
    return key != "n" and (value is None or isinstance(value, int | float))


def _by_class(item: Object) -> dict[str, dict[str, Number]]:
    """Figures by class and key; the document has them by key and class, as ``dice_by_class``."""
    found: dict[str, dict[str, Number]] = {}
    for key, told in item.items():
        if key.endswith(_BY_CLASS):
            for name, value in told.items():
                found.setdefault(name, {})[key.removesuffix(_BY_CLASS)] = number_of(value)
    return found


def _bins(calibration: Object | None) -> tuple[Bin, ...]:
    if not calibration:
        return ()
    columns = zip(calibration["confidence"], calibration["accuracy"], calibration["n"], strict=True)
    return tuple(Bin(sure, right, n) for sure, right, n in columns if n and sure is not None)
