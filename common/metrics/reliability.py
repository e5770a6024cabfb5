"""How far confidence is from how often it is right, as counts by bin of confidence that add across sites."""

from __future__ import annotations

from typing import Any

import numpy as np

from common.metrics.sums import Array, ratio

CALIBRATION_BINS = 15


def reliability(confidence: Array, correct: Array) -> Array:
    """(3, 15) float64 per bin of equal width: answers, sum of confidences, right answers.

    Args:
        confidence: (n,) float in [0, 1].
        correct: (n,) bool.
    """
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    rows = (np.ones(len(confidence)), confidence, correct.astype(float))
    sums = [np.bincount(bins, weights=row, minlength=CALIBRATION_BINS) for row in rows]
    return np.stack(sums).astype(np.float64)  # of no cases bincount makes integers


def calibration_error(calibration: Array) -> float | None:
    """Expected calibration error (Naeini et al. 2015): mean of |confidence - accuracy| over the bins."""
    cases, confidence, correct = calibration
    return ratio(np.abs(confidence - correct).sum(), cases.sum())


def reliability_curve(calibration: Array) -> dict[str, list[Any]]:
    """Mean confidence, accuracy and cases of each bin, as run.json carries them; null in an empty one."""
    cases, confidence, correct = calibration
    return {
        "confidence": [ratio(total, k) for total, k in zip(confidence, cases, strict=True)],
        "accuracy": [ratio(total, k) for total, k in zip(correct, cases, strict=True)],
        "n": [int(k) for k in cases],
    }
