"""Metrics read off evaluation sums. A metric that is not defined on these cases is None.

Binary studies: precision, recall, F1 and AUROC are those of the second class. With more classes they
are means over the classes that occur.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.metrics.sums import EvaluationSums

Array = NDArray[Any]
ROC_POINTS = 200


@dataclass(frozen=True, slots=True)
class Metrics:
    """The figures of one model on n cases; ``labels`` counts the cases of each class."""

    n: int
    loss: float | None
    accuracy: float | None
    balanced_accuracy: float | None
    auroc: float | None
    f1: float | None
    recall: float | None
    precision: float | None
    calibration_error: float | None
    labels: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As written to run.json."""
        return asdict(self)


def metrics_of(sums: EvaluationSums, classes: Sequence[str]) -> Metrics:
    """All metrics of ``sums``; ``classes`` names the rows of its confusion matrix."""
    n, confusion = sums.n, sums.confusion
    true, predicted, hit = confusion.sum(axis=1), confusion.sum(axis=0), confusion.diagonal()
    reported = [1] if len(classes) == 2 else [c for c in range(len(classes)) if true[c]]
    return Metrics(
        n=n,
        loss=_ratio(sums.loss, n),
        accuracy=_ratio(hit.sum(), n),
        balanced_accuracy=_mean([_ratio(hit[c], true[c]) for c in range(len(classes)) if true[c]]),
        auroc=_mean([_auroc(*_roc(sums, c)) for c in reported]),
        f1=_mean([_ratio(2 * hit[c], true[c] + predicted[c]) for c in reported]),
        recall=_mean([_ratio(hit[c], true[c]) for c in reported]),
        precision=_mean([_ratio(hit[c], predicted[c]) for c in reported]),
        calibration_error=_calibration_error(sums),
        labels={name: int(count) for name, count in zip(classes, true, strict=True)},
    )


def curves_of(sums: EvaluationSums, classes: Sequence[str]) -> dict[str, Any]:
    """Confusion matrix, ROC and reliability curve, as run.json carries them for the final model."""
    cases, confidence, correct = sums.calibration
    return {
        "confusion": sums.confusion.tolist(),
        "roc": {
            classes[c]: _thinned(*_roc(sums, c)) for c in ([1] if len(classes) == 2 else range(len(classes)))
        },
        "calibration": {
            "confidence": [_ratio(total, k) for total, k in zip(confidence, cases, strict=True)],
            "accuracy": [_ratio(total, k) for total, k in zip(correct, cases, strict=True)],
            "n": [int(k) for k in cases],
        },
    }


def _roc(sums: EvaluationSums, of_class: int) -> tuple[Array, Array]:
    """False and true positives, cumulated from the highest score down; ties are one step."""
    if sums.exact:
        values, positions = np.unique(sums.scores[:, of_class], return_inverse=True)
        is_class = sums.labels == of_class
        steps = np.stack(
            [np.bincount(positions[is_class == side], minlength=len(values)) for side in (False, True)]
        )
    else:
        steps = sums.histogram[of_class]
    return np.cumsum(steps[0][::-1]), np.cumsum(steps[1][::-1])


def _auroc(false: Array, true: Array) -> float | None:
    """Area under the ROC curve: the probability that a positive outscores a negative, ties half."""
    if not len(false) or not false[-1] or not true[-1]:
        return None
    area = _area(false, true)
    return float(area / (false[-1] * true[-1]))


def _area(false: Array, true: Array) -> float:
    """Trapezoidal rule."""
    width, height = np.diff(np.r_[0, false]), np.r_[0, true]
    return float((width * (height[1:] + height[:-1]) / 2).sum())


def _thinned(false: Array, true: Array) -> dict[str, list[float]]:
    if not len(false) or not false[-1] or not true[-1]:
        return {"fpr": [], "tpr": []}
    at = np.unique(np.linspace(0, len(false) - 1, min(len(false), ROC_POINTS - 1)).astype(int))
    return {
        "fpr": [0.0, *(false[at] / false[-1]).round(5).tolist()],
        "tpr": [0.0, *(true[at] / true[-1]).round(5).tolist()],
    }


def _calibration_error(sums: EvaluationSums) -> float | None:
    """Expected calibration error (Naeini et al. 2015): mean of |confidence - accuracy| over the bins."""
    _, confidence, correct = sums.calibration
    return _ratio(np.abs(confidence - correct).sum(), sums.n)


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
