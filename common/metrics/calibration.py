"""Temperature, bias and threshold, fitted from summed counts of scores alone.

With s the logit of a score, a calibrated probability is sigmoid(s / temperature + bias). Slope and bias are
those of least cross-entropy over the bins of a histogram (Platt 1999), found by Newton's method with Platt's
targets, (N+ + 1) / (N+ + 2) and 1 / (N- + 2) in place of 1 and 0, so that classes which few cases tell apart
make no one sure. Three forms:

    softmax   two classes: softmax(logits / temperature + bias), the bias of the first class being 0
    classes   more: each class against the rest with one temperature, divided by their sum (Zadrozny and
              Elkan 2002)
    labels    several labels a case: each label by itself

A threshold is the calibrated probability from which on a class is called: of two classes, and of each label,
that of the largest balanced accuracy (Youden 1950). Of more classes the most probable is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from common.metrics.classification import ClassificationSums
from common.metrics.ranking import bin_edges, bin_logits
from common.metrics.several_labels import SeveralLabelsSums
from common.metrics.sums import Array, EvaluationSums

Form = Literal["softmax", "classes", "labels"]
LEAST_SLOPE, MOST_SLOPE = 0.05, 20.0
"""Beyond them the cases are too few, or their scores tell nothing of the class."""
_STEPS, _CLOSE = 100, 1e-9


@dataclass(frozen=True, slots=True)
class Calibration:
    """How scores become probabilities that mean what they say, and a decision.

    Attributes:
        form: See above.
        temperature: One above 0; of ``labels`` one for each.
        bias: One for each class or label.
        threshold: One for two classes, one for each of ``labels``; none of ``classes``.
    """

    form: Form
    temperature: tuple[float, ...]
    bias: tuple[float, ...]
    threshold: tuple[float, ...]

    def probabilities(self, scores: Array) -> Array:
        """(n, C) calibrated probabilities of the model's own (n, C)."""
        clipped = np.clip(scores.astype(np.float64), 1e-9, 1 - 1e-9)
        logits = np.log(clipped / (1 - clipped))
        if self.form == "softmax":
            second = _sigmoid(logits[:, 1] / self.temperature[0] + self.bias[1])
            return np.stack([1 - second, second], axis=1)
        each = _sigmoid(logits / np.array(self.temperature) + np.array(self.bias))
        return each if self.form == "labels" else each / each.sum(axis=1, keepdims=True)

    def called(self, probabilities: Array) -> Array:
        """(n,) int64 class that is called, or of ``labels`` (n, C) bool whether each is.

        Args:
            probabilities: (n, C), calibrated.
        """
        if self.form == "labels":
            return np.asarray(probabilities >= np.array(self.threshold))
        if self.form == "softmax":
            return np.asarray(probabilities[:, 1] >= self.threshold[0]).astype(np.int64)
        return np.asarray(probabilities.argmax(axis=1))

    def to_json(self) -> dict[str, Any]:
        """As run.json and the model's file carry it."""
        alone = self.form != "labels"
        threshold = list(self.threshold) if not alone else next(iter(self.threshold), None)
        return {
            "form": self.form,
            "temperature": self.temperature[0] if alone else list(self.temperature),
            "bias": list(self.bias),
            "threshold": threshold,
        }

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Calibration:
        """What :meth:`to_json` made.

        Raises:
            ValueError: It is none, or a number of it cannot be.
        """
        try:
            form, bias = told["form"], tuple(map(float, told["bias"]))
            temperature, threshold = _several(told["temperature"]), _several(told.get("threshold"))
        except (KeyError, TypeError) as error:
            raise ValueError(f"no calibration: {error}") from None
        expected = {"softmax": (1, 1), "classes": (1, 0), "labels": (len(bias), len(bias))}
        if form not in get_args(Form) or (len(temperature), len(threshold)) != expected[form]:
            raise ValueError(f"no calibration of form {form!r}")
        sound = all(np.isfinite([*temperature, *bias])) and all(0 <= t <= 1 for t in threshold)
        if not sound or min(temperature, default=0.0) <= 0 or len(bias) < (2 if form != "labels" else 1):
            raise ValueError("a calibration with numbers that cannot be")
        return cls(form, temperature, bias, threshold)


def fitted(sums: EvaluationSums) -> Calibration | None:
    """The calibration that counts of held-out cases ask for; None where they cannot tell.

    They cannot where a class has no case, or where scores do not rise with the share of cases that have it.
    """
    if isinstance(sums, SeveralLabelsSums):
        return _of_labels(sums.histogram)
    if not isinstance(sums, ClassificationSums) or sums.n == 0:
        return None
    if len(sums.histogram) == 2:
        return _of_two(sums.histogram[1])
    return _of_classes(sums.histogram)


def _of_two(histogram: Array) -> Calibration | None:
    fit = _slope_and_biases(histogram[None])
    if fit is None:
        return None
    slope, bias = fit[0], float(fit[1])
    return Calibration("softmax", (1 / slope,), (0.0, bias), (_threshold(histogram, slope, bias),))


def _of_classes(histogram: Array) -> Calibration | None:
    fit = _slope_and_biases(histogram)
    return None if fit is None else Calibration("classes", (1 / fit[0],), tuple(fit[1:].tolist()), ())


def _of_labels(histogram: Array) -> Calibration | None:
    """Each label by itself; one that cases tell nothing of stays as it is, with a threshold of 0.5."""
    fits = [_slope_and_biases(each[None]) for each in histogram]
    if all(fit is None for fit in fits):
        return None
    known = [(1.0, 0.0) if fit is None else (float(fit[0]), float(fit[1])) for fit in fits]
    thresholds = [
        0.5 if fit is None else _threshold(each, *pair)
        for fit, pair, each in zip(fits, known, histogram, strict=True)
    ]
    slopes, biases = zip(*known, strict=True)
    return Calibration("labels", tuple(1 / slope for slope in slopes), tuple(biases), tuple(thresholds))


def _slope_and_biases(histogram: Array) -> Array | None:
    """(1 + C,) slope shared by C questions and the bias of each, of least cross-entropy; None for none.

    Args:
        histogram: (C, 2, 512) cases of no and yes by score.
    """
    negatives, positives = histogram.sum(axis=2).T.astype(np.float64)
    if not (negatives * positives).all():
        return None
    yes, no = (positives + 1) / (positives + 2), 1 / (negatives + 2)
    weight = histogram.sum(axis=1).astype(np.float64)
    target = histogram[:, 1] * yes[:, None] + histogram[:, 0] * no[:, None]
    logits, fit = bin_logits(), np.r_[1.0, np.zeros(len(histogram))]
    for _ in range(_STEPS):
        step = _newton_step(fit, logits, weight, target)
        fit = fit - _damped(fit, step, logits, weight, target) * step
        if np.abs(step).max() < _CLOSE:
            break
    return fit if LEAST_SLOPE <= fit[0] <= MOST_SLOPE and np.isfinite(fit).all() else None


def _newton_step(fit: Array, logits: Array, weight: Array, target: Array) -> Array:
    """(1 + C,) inverse Hessian times gradient."""
    probability = _sigmoid(fit[0] * logits + fit[1:, None])
    error, curve = weight * probability - target, weight * probability * (1 - probability)
    gradient = np.r_[(error * logits).sum(), error.sum(axis=1)]
    hessian = np.diag(np.r_[(curve * logits**2).sum(), curve.sum(axis=1)] + 1e-9)
    hessian[0, 1:] = hessian[1:, 0] = (curve * logits).sum(axis=1)
    return np.asarray(np.linalg.solve(hessian, gradient))


def _damped(fit: Array, step: Array, logits: Array, weight: Array, target: Array) -> float:
    """The largest of 1, 1/2, 1/4 ... of a step that makes the loss no larger (Lin et al. 2007)."""
    before, share = _loss(fit, logits, weight, target), 1.0
    while share > 1e-6 and _loss(fit - share * step, logits, weight, target) > before:
        share /= 2
    return share


def _loss(fit: Array, logits: Array, weight: Array, target: Array) -> float:
    margin = fit[0] * logits + fit[1:, None]
    return float((weight * np.logaddexp(0, margin) - target * margin).sum())


def _threshold(histogram: Array, slope: float, bias: float) -> float:
    """The calibrated probability at the edge of a bin from which on calling yes is right most often.

    Of several such edges it is the one in the middle.
    """
    below, above = np.r_[0, np.cumsum(histogram[0])], np.r_[0, np.cumsum(histogram[1])]
    youden = below / below[-1] - above / above[-1]
    best = np.flatnonzero(youden >= youden.max() - 1e-12)
    return float(_sigmoid(slope * bin_edges()[best[len(best) // 2]] + bias))


def _sigmoid(value: Any) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(value, -700, 700))))


def _several(value: Any) -> tuple[float, ...]:
    if value is None:
        return ()
    return tuple(map(float, value)) if isinstance(value, list | tuple) else (float(value),)
