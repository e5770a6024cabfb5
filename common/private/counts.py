"""Evaluation counts under noise, so that what is sent about test cases hides any one patient's part in it.

Each unit (a patient with all its test cases, or one image) counts as one: each of its m cases with weight 1 / m.
So one unit, however many cases it has, moves the vector of all counts by at most norm 1, and one Gaussian
release of that vector is all that is spent. Whatever follows is computed from it and from the numbers of cases
of each class, which a site states anyway.

Scores are released as prefix sums of their histogram, by the square root of the matrix of prefix sums (Fichtenberger
et al. 2023; Henzinger et al. 2023):

    A = R R,  R[i, j] = C(2k, k) / 4^k with k = i - j >= 0,    prefix = R (R h + noise)

so any number of bins costs hardly more noise than a few would: with 512, 3 times the noise of one count.

With two classes the scores' histogram tells the rest (confusion, calibration, loss). With more, confusion and
calibration are released beside it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.metrics import CALIBRATION_BINS, EvaluationSums
from common.metrics.sums import LOGIT_RANGE, SCORE_BINS
from common.private.noise import normals
from common.private.plan import EvaluationPlan
from common.private.secret import Secret

Array = NDArray[Any]

SCORE_SHARE, CONFUSION_SHARE, CALIBRATION_SHARE = 0.6, 0.2, 0.2
"""How the release's squared norm is divided among its parts where there are more than two classes."""

_CENTRES = (np.arange(SCORE_BINS) + 0.5) / SCORE_BINS * 2 * LOGIT_RANGE - LOGIT_RANGE


def noised_sums(
    scores: Array, labels: Array, groups: Array, plan: EvaluationPlan, secret: Secret
) -> EvaluationSums:
    """What a site may send of an evaluation: consistent counts of as many cases of each class as there are.

    Args:
        scores: (n, C) float, class probabilities that sum to one.
        labels: (n,) int, true classes.
        groups: (n,) int from 0, unit of each case.
        plan: The noise.
        secret: Of this evaluation alone; its stream ``evaluation`` is used.
    """
    vector = statistic(scores, labels, groups)
    draw = normals(secret, "evaluation", secure=plan.secure_noise)
    noised = vector + plan.noise_multiplier * draw(len(vector))
    return sums_from(noised, np.bincount(labels, minlength=scores.shape[1]))


def statistic(scores: Array, labels: Array, groups: Array) -> Array:
    """(D,) everything that is released, before the noise.

    Removing all cases of one unit moves it by an L2 norm of at most 1.
    """
    classes = scores.shape[1]
    weight = 1.0 / np.bincount(groups)[groups] if len(groups) else np.zeros(0)
    seen = range(classes) if classes > 2 else (1,)
    scored = np.stack([_histogram(scores[:, c], labels == c, weight) for c in seen])
    root, norm = _root()
    parts = [scored @ root.T / (norm * math.sqrt(len(seen)))]
    if classes > 2:
        parts = [
            parts[0] * math.sqrt(SCORE_SHARE),
            _confusion(scores, labels, weight) * math.sqrt(CONFUSION_SHARE),
            _calibration(scores, labels, weight) * math.sqrt(CALIBRATION_SHARE),
        ]
    return np.concatenate([part.ravel() for part in parts])


def sums_from(noised: Array, of_class: Array) -> EvaluationSums:
    """The sums that a noised statistic speaks for.

    Args:
        noised: (D,).
        of_class: (C,) int, cases of each class.
    """
    classes, n = len(of_class), int(of_class.sum())
    seen = range(classes) if classes > 2 else (1,)
    size = len(seen) * 2 * SCORE_BINS
    share = SCORE_SHARE if classes > 2 else 1.0
    root, norm = _root()
    prefix = noised[:size].reshape(len(seen), 2, SCORE_BINS) @ root.T * norm * math.sqrt(len(seen) / share)
    totals = [(n - int(of_class[c]), int(of_class[c])) for c in seen]
    histogram = np.array(
        [[_steps(p, t) for p, t in zip(*pair, strict=True)] for pair in zip(prefix, totals, strict=True)]
    )
    if classes == 2:
        return _of_two(histogram[0])
    confusion = noised[size : size + classes**2].reshape(classes, classes)
    calibration = noised[size + classes**2 :]
    return _sums(
        np.stack([_shares(row, int(total)) for row, total in zip(confusion, of_class, strict=True)]),
        _shares(calibration, n).reshape(CALIBRATION_BINS, 2),
        histogram,
    )
