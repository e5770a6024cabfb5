"""What a calibration makes of counts of test cases: the same figures as is, and calibrated, side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from common.metrics.calibration import Calibration
from common.metrics.classification import ClassificationSums
from common.metrics.ranking import bin_middles
from common.metrics.reliability import CALIBRATION_BINS, calibration_error
from common.metrics.several_labels import SeveralLabelsSums
from common.metrics.sums import Array, EvaluationSums, mean, ratio

Figures = dict[str, float | None]
KEYS = (
    "loss",
    "brier",
    "calibration_error",
    "accuracy",
    "balanced_accuracy",
    "recall",
    "specificity",
    "precision",
    "f1",
)


def before_and_after(sums: EvaluationSums, calibration: Calibration) -> dict[str, Figures] | None:
    """Figures ``as_is``, at a threshold of one half, and ``calibrated``, at the fitted one.

    Of two classes, and of each label, they are read off the histogram of scores, or off single scores where
    there are any. Of more classes they need single scores, for which class is the most probable no histogram
    tells; then, as for no test cases, there are none.
    """
    if sums.n == 0:
        return None
    plain = Calibration("labels", (1.0,), (0.0,), (0.5,))
    if isinstance(sums, SeveralLabelsSums):
        own = [_of_label(calibration, label) for label in range(len(calibration.bias))]
        answers = [_answers_of_label(sums, label) for label in range(len(own))]
        return {
            "as_is": _averaged([_of_answers(each, plain) for each in answers]),
            "calibrated": _averaged([_of_answers(*pair) for pair in zip(answers, own, strict=True)]),
        }
    if not isinstance(sums, ClassificationSums):
        return None
    if calibration.form == "softmax":
        own_of_two = Calibration(
            "labels", calibration.temperature, calibration.bias[1:], calibration.threshold
        )
        found = _answers_of_two(sums)
        return {"as_is": _of_answers(found, plain), "calibrated": _of_answers(found, own_of_two)}
    return _of_classes(sums, calibration) if sums.exact else None


def _of_label(calibration: Calibration, label: int) -> Calibration:
    """One label's calibration by itself."""
    one = slice(label, label + 1)
    told = calibration.temperature[one], calibration.bias[one], calibration.threshold[one]
    return Calibration("labels", *told)


def _answers_of_label(sums: SeveralLabelsSums, label: int) -> tuple[Array, Array]:
    """(K,) scores, and (2, K) cases of no and yes that have each."""
    if sums.exact:
        has = sums.truths[:, label]
        return sums.scores[:, label], np.stack([1 - has, has])
    return bin_middles(), sums.histogram[label]


def _answers_of_two(sums: ClassificationSums) -> tuple[Array, Array]:
    if sums.exact:
        return sums.scores[:, 1], np.stack([1 - sums.labels, sums.labels])
    return bin_middles(), sums.histogram[1]


def _of_answers(answers: tuple[Array, Array], calibration: Calibration) -> Figures:
    """Figures of one question of yes and no."""
    scores, cases = answers
    probability = calibration.probabilities(scores[:, None])[:, 0]
    said = probability >= calibration.threshold[0]
    confusion = np.array([[side[~said].sum(), side[said].sum()] for side in cases], dtype=np.float64)
    total, clipped = float(cases.sum()), np.clip(probability, 1e-12, 1 - 1e-12)
    return {
        "loss": ratio(-float((cases * np.log(np.stack([1 - clipped, clipped]))).sum()), total),
        "brier": ratio(float((cases * np.stack([probability, 1 - probability]) ** 2).sum()), total),
        "calibration_error": _error(probability, cases),
        **_of_confusion(confusion),
    }


def _of_confusion(confusion: Array) -> Figures:
    """By (2, 2) cases by truth (row) and answer (column)."""
    (right_no, wrong_yes), (wrong_no, right_yes) = confusion.tolist()
    recall, specificity = ratio(right_yes, right_yes + wrong_no), ratio(right_no, right_no + wrong_yes)
    return {
        "accuracy": ratio(right_yes + right_no, float(confusion.sum())),
        "balanced_accuracy": mean([recall, specificity]),
        "recall": recall,
        "specificity": specificity,
        "precision": ratio(right_yes, right_yes + wrong_yes),
        "f1": ratio(2 * right_yes, 2 * right_yes + wrong_yes + wrong_no),
    }


def _error(probability: Array, cases: Array) -> float | None:
    """Expected calibration error of the likelier answer, whatever the threshold."""
    yes = probability >= 0.5
    confidence = np.maximum(probability, 1 - probability)
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    total, right = cases.sum(axis=0), np.where(yes, cases[1], cases[0])
    rows = (total, total * confidence, right)
    return calibration_error(np.stack([np.bincount(bins, row, CALIBRATION_BINS) for row in rows]))


def _averaged(each: list[Figures]) -> Figures:
    return {key: mean([told[key] for told in each]) for key in KEYS}


def _of_classes(sums: ClassificationSums, calibration: Calibration) -> dict[str, Figures]:
    names = [str(number) for number in range(len(sums.confusion))]

    def figures(scores: Array) -> Figures:
        told: dict[str, Any] = ClassificationSums.count(scores, sums.labels, keep_scores=True).figures(names)
        return {key: told[key] for key in KEYS}

    return {"as_is": figures(sums.scores), "calibrated": figures(calibration.probabilities(sums.scores))}
