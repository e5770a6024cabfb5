"""A fit to histograms is near one to single scores, undoes a known distortion, and adds across sites."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, log_loss

from common.metrics import ClassificationSums, SeveralLabelsSums
from common.metrics.calibrated import before_and_after
from common.metrics.calibration import Calibration, fitted

Array = NDArray[Any]


def sigmoid(value: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-value)))


def binary(seed: int, n: int, slope: float, bias: float) -> tuple[Array, Array]:
    """(n, 2) scores whose true log-odds are ``slope * s + bias``, s their own; and (n,) labels drawn so."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=n) * 2
    second = sigmoid(logits)
    return np.stack([1 - second, second], axis=1), (rng.random(n) < sigmoid(slope * logits + bias)).astype(
        int
    )


def counted(scores: Array, labels: Array, *, keep: bool = False) -> ClassificationSums:
    return ClassificationSums.count(scores, labels, keep_scores=keep)


def fit_of(sums: ClassificationSums | SeveralLabelsSums) -> Calibration:
    found = fitted(sums)
    assert found is not None
    return found


@pytest.mark.parametrize(("slope", "bias"), [(0.4, 0.0), (1.0, 0.0), (2.0, -1.0), (0.6, 1.5)])
def test_a_known_distortion_is_found(slope: float, bias: float) -> None:
    found = fit_of(counted(*binary(0, 40_000, slope, bias)))
    assert (found.form, found.bias[0]) == ("softmax", 0.0)
    assert 1 / found.temperature[0] == pytest.approx(slope, rel=0.05)
    assert found.bias[1] == pytest.approx(bias, abs=0.06)


@pytest.mark.parametrize("seed", range(3))
def test_the_fit_is_that_of_an_optimiser_on_single_scores(seed: int) -> None:
    scores, labels = binary(seed, 300, 0.5, 0.7)
    logits = np.log(scores[:, 1] / scores[:, 0])
    count = np.bincount(labels)
    target = np.where(labels == 1, (count[1] + 1) / (count[1] + 2), 1 / (count[0] + 2))

    def loss(fit: Array) -> float:
        margin = fit[0] * logits + fit[1]
        return float((np.logaddexp(0, margin) - target * margin).sum())

    expected = minimize(loss, np.array([1.0, 0.0])).x
    found = fit_of(counted(scores, labels))
    assert [1 / found.temperature[0], found.bias[1]] == pytest.approx(expected, abs=0.01)


def test_sites_fit_together_what_their_cases_fit_in_one_place() -> None:
    scores, labels = binary(5, 500, 0.5, -0.5)
    parts = [counted(scores[s], labels[s]) for s in (slice(0, 90), slice(90, 300), slice(300, 500))]
    assert fitted(ClassificationSums.total(parts)) == fitted(counted(scores, labels))


@pytest.mark.parametrize("keep", [True, False])
def test_other_cases_are_better_calibrated(keep: bool) -> None:
    found = fit_of(counted(*binary(1, 4000, 0.4, 0.8)))
    scores, labels = binary(2, 4000, 0.4, 0.8)
    told = before_and_after(counted(scores, labels, keep=keep), found)
    assert told is not None
    before, after = told["as_is"], told["calibrated"]
    for key in ("loss", "brier", "calibration_error"):
        assert (after[key] or 0.0) < 0.9 * (before[key] or 0.0)
    assert (after["calibration_error"] or 0.0) < 0.5 * (before["calibration_error"] or 0.0)
    probability = found.probabilities(scores)
    close = 1e-9 if keep else 0.003
    assert after["loss"] == pytest.approx(log_loss(labels, probability), abs=close)
    assert after["brier"] == pytest.approx(brier_score_loss(labels, probability[:, 1]), abs=close)
    called = balanced_accuracy_score(labels, found.called(probability))
    assert after["balanced_accuracy"] == pytest.approx(called, abs=close)


def test_the_threshold_has_the_largest_balanced_accuracy() -> None:
    scores, labels = binary(3, 600, 1.0, -2.0)
    found = fit_of(counted(scores, labels))
    probability = found.probabilities(scores)[:, 1]
    every = [balanced_accuracy_score(labels, probability >= t) for t in np.unique(probability)]
    own = balanced_accuracy_score(labels, probability >= found.threshold[0])
    assert own == pytest.approx(max(every), abs=0.005)
    assert own > balanced_accuracy_score(labels, probability >= 0.5) + 0.05


def test_of_several_classes_a_common_temperature_is_found() -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(6000, 3)) * 2
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (rng.random((6000, 1)) > true.cumsum(axis=1)).sum(axis=1)
    sharp = np.exp(3 * logits) / np.exp(3 * logits).sum(axis=1, keepdims=True)
    found = fit_of(counted(sharp[:3000], labels[:3000]))
    assert found.form == "classes" and found.temperature[0] > 1.5 and found.threshold == ()
    assert found.probabilities(sharp).sum(axis=1) == pytest.approx(1.0)
    told = before_and_after(counted(sharp[3000:], labels[3000:], keep=True), found)
    assert told is not None
    assert (told["calibrated"]["calibration_error"] or 0.0) < 0.5 * (
        told["as_is"]["calibration_error"] or 0.0
    )
    assert (told["calibrated"]["loss"] or 0.0) < (told["as_is"]["loss"] or 0.0)
    assert before_and_after(counted(sharp[3000:], labels[3000:]), found) is None


def test_each_label_has_its_own() -> None:
    first, second = binary(6, 5000, 0.5, 0.0), binary(7, 5000, 1.0, -2.0)
    scores = np.stack([first[0][:, 1], second[0][:, 1], np.full(5000, 0.3)], axis=1)
    truths = np.stack([first[1], second[1], np.zeros(5000, dtype=int)], axis=1)
    sums = SeveralLabelsSums.count(scores, truths, keep_scores=False)
    found = fit_of(sums)
    assert 1 / np.array(found.temperature) == pytest.approx([0.5, 1.0, 1.0], rel=0.1)
    assert found.bias == pytest.approx([0.0, -2.0, 0.0], abs=0.15)
    assert found.threshold[2] == 0.5 and found.threshold[1] < 0.5
    told = before_and_after(sums, found)
    assert told is not None
    assert (told["calibrated"]["balanced_accuracy"] or 0.0) > (told["as_is"]["balanced_accuracy"] or 0.0)
    assert found.called(found.probabilities(scores)).shape == (5000, 3)


def test_cases_that_tell_nothing_fit_nothing() -> None:
    scores, labels = binary(8, 200, 1.0, 0.0)
    assert fitted(ClassificationSums.none(2)) is None
    assert fitted(counted(scores, np.zeros_like(labels))) is None
    assert fitted(counted(scores[:, ::-1], labels)) is None  # the wrong way round
    assert fitted(SeveralLabelsSums.none(2)) is None
    found = fit_of(counted(scores, labels))
    assert before_and_after(ClassificationSums.none(2), found) is None


def test_few_cases_that_are_told_apart_perfectly_make_nobody_certain() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9]])
    found = fit_of(counted(scores, np.array([0, 0, 1, 1])))
    assert 0.2 < found.probabilities(np.array([[0.5, 0.5]]))[0, 1] < 0.8
    assert found.probabilities(scores).max() < 0.95


def test_it_goes_through_json() -> None:
    for found in (
        fit_of(counted(*binary(0, 500, 0.5, 0.0))),
        Calibration("classes", (2.0,), (0.1, 0.2, -0.3), ()),
        Calibration("labels", (2.0, 1.0), (0.1, 0.2), (0.5, 0.1)),
    ):
        assert Calibration.of_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"form": "other", "temperature": 1.0, "bias": [0.0, 0.0], "threshold": 0.5},
        {"form": "softmax", "temperature": -1.0, "bias": [0.0, 0.0], "threshold": 0.5},
        {"form": "softmax", "temperature": 1.0, "bias": [0.0], "threshold": 0.5},
        {"form": "softmax", "temperature": 1.0, "bias": [0.0, 0.0], "threshold": 1.5},
        {"form": "softmax", "temperature": 1.0, "bias": [0.0, float("nan")], "threshold": 0.5},
        {"form": "classes", "temperature": 1.0, "bias": [0.0, 0.0], "threshold": 0.5},
        {"form": "labels", "temperature": [1.0], "bias": [0.0, 0.0], "threshold": [0.5, 0.5]},
        {"form": "labels", "temperature": "hot", "bias": [0.0], "threshold": [0.5]},
    ],
)
def test_what_is_no_calibration_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"calibration|convert"):
        Calibration.of_json(told)
