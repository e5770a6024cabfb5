"""Noised counts hide a patient, are counts still, and say nearly what the true ones say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.metrics import ClassificationSums, Metrics, metrics_of
from common.private.accounting import noise_multiplier_for
from common.private.counts import noised_sums, statistic, sums_from
from common.private.noise import normals
from common.private.plan import EvaluationPlan
from common.private.secret import Secret
from common.tasks import Evaluation, evaluation_content, read_evaluation

Array = NDArray[Any]
Predictions = tuple[Array, Array, Array]


def predictions(n: int, classes: int, units: int, seed: int = 0) -> Predictions:
    """Scores of which 2 of 3 favour the true class, labels, and units with one to many cases."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = 1.5 * rng.standard_normal((n, classes)) + 2.0 * np.eye(classes)[labels]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    groups = np.concatenate([np.arange(units), rng.integers(0, units, n - units)]) if n else np.zeros(0, int)
    return scores, labels, groups


def plan_with(noise_multiplier: float, *, secure: bool = False) -> EvaluationPlan:
    return EvaluationPlan(
        unit="patient",
        neighbouring="add or remove one unit",
        evaluations=1,
        noise_multiplier=noise_multiplier,
        target_epsilon=1.0,
        target_delta=1e-3,
        accountant="prv",
        secure_noise=secure,
    )


def metrics(sums: ClassificationSums) -> Metrics:
    return metrics_of(sums, [str(c) for c in range(len(sums.confusion))])


def noised(found: Predictions, noise_multiplier: float, seed: int = 0) -> ClassificationSums:
    return noised_sums(*found, plan_with(noise_multiplier), Secret.seeded(seed))


@settings(max_examples=30)
@given(st.integers(2, 5), st.integers(1, 20), st.integers(0, 30), st.integers(0, 2**16))
def test_removing_a_unit_moves_the_release_by_at_most_one(
    classes: int, units: int, more: int, seed: int
) -> None:
    scores, labels, groups = predictions(units + more, classes, units, seed)
    whole = statistic(scores, labels, groups)
    for unit in range(units):
        kept = groups != unit
        renumbered = np.unique(groups[kept], return_inverse=True)[1]
        without = statistic(scores[kept], labels[kept], renumbered)
        assert np.linalg.norm(whole - without) <= 1 + 1e-9


@pytest.mark.parametrize("classes", [2, 3])
def test_a_unit_can_move_the_release_by_nearly_one(classes: int) -> None:
    # So no noise is wasted: a case with the lowest scores adds the longest column of the root.
    scores = np.full((1, classes), 1e-12)
    scores[0, 0] = 1.0
    moved = np.linalg.norm(statistic(scores, np.array([0]), np.array([0])))
    assert 0.75 < moved <= 1 + 1e-9


@pytest.mark.parametrize("classes", [2, 3])
def test_without_noise_the_counts_are_the_true_ones(classes: int) -> None:
    scores, labels, _ = predictions(300, classes, 300)
    true = ClassificationSums.count(scores, labels, keep_scores=False)
    found = noised((scores, labels, np.arange(300)), 0.0)
    np.testing.assert_array_equal(found.confusion, true.confusion)
    if classes == 2:  # the first class's scores are the second's, mirrored: one at a bin's edge may move
        np.testing.assert_array_equal(found.histogram[1], true.histogram[1])
        assert np.abs(np.cumsum(found.histogram - true.histogram, axis=2)).max() <= 1
    else:
        np.testing.assert_array_equal(found.histogram, true.histogram)
    np.testing.assert_allclose(found.calibration[0], true.calibration[0], atol=3)
    assert found.loss == pytest.approx(true.loss, rel=0.01)


@pytest.mark.parametrize("classes", [2, 3])
def test_little_noise_gives_nearly_the_truth(classes: int) -> None:
    found = predictions(500, classes, 500)
    noise = noise_multiplier_for(50.0, 1e-3, 1.0, 1, "rdp")
    true = metrics(ClassificationSums.count(*found[:2], keep_scores=False))
    got = [metrics(noised(found, noise, seed)) for seed in range(20)]
    for name in ("auroc", "accuracy", "balanced_accuracy", "f1", "loss"):
        off = np.array([getattr(one, name) for one in got]) - getattr(true, name)
        assert np.sqrt((off**2).mean()) < (0.02 if name == "loss" else 0.005), name
    assert all(one.labels == true.labels for one in got)


@pytest.mark.parametrize(("classes", "distance"), [(2, 0.04), (3, 0.07)])
def test_auroc_of_500_cases_at_epsilon_2_is_near_the_truth(classes: int, distance: float) -> None:
    found = predictions(500, classes, 500)
    noise = noise_multiplier_for(2.0, 500**-1.1, 1.0, 1, "prv")
    true = metrics(ClassificationSums.count(*found[:2], keep_scores=False)).auroc
    assert true is not None
    off = [metrics(noised(found, noise, seed)).auroc or 0 for seed in range(20)] - np.array(true)
    assert np.sqrt((off**2).mean()) < distance
    assert np.abs(off).max() > 0.001  # there is noise


def test_the_noise_is_that_of_the_plan() -> None:
    found = predictions(200, 2, 200)
    vector = statistic(*found)
    of_class = np.bincount(found[1])
    for seed in range(2):
        drawn = normals(Secret.seeded(seed), "evaluation", secure=False)(len(vector))
        expected = sums_from(vector + 1.7 * drawn, of_class)
        np.testing.assert_array_equal(noised(found, 1.7, seed).histogram, expected.histogram)


def test_a_patient_counts_as_one() -> None:
    # Ten patients are right once; one is wrong in all of its many cases.
    labels = np.zeros(1010, dtype=int)
    groups = np.concatenate([np.arange(10), np.full(1000, 10)])
    scores = np.tile([0.9, 0.1], (1010, 1))
    scores[10:] = [0.1, 0.9]
    sums = noised((scores, labels, groups), 0.0)
    assert sums.n == 1010
    assert metrics(sums).accuracy == pytest.approx(10 / 11, abs=0.001)


@pytest.mark.parametrize("secure", [False, True])
def test_the_secret_decides_over_the_noise(secure: bool) -> None:
    found = predictions(50, 2, 20)

    def histogram(seed: int) -> Array:
        return noised_sums(*found, plan_with(2.0, secure=secure), Secret.seeded(seed)).histogram

    assert np.array_equal(histogram(1), histogram(1))
    assert not np.array_equal(histogram(1), histogram(2))


@settings(max_examples=40)
@given(
    st.sampled_from([(0, 2, 0), (1, 2, 1), (7, 2, 3), (60, 2, 60), (9, 3, 9), (40, 5, 11)]),
    st.sampled_from([0.0, 0.3, 5.0, 1000.0]),
    st.integers(0, 2**16),
)
def test_the_coordinator_accepts_whatever_comes_out(
    shape: tuple[int, int, int], noise: float, seed: int
) -> None:
    n, classes, units = shape
    found = predictions(n, classes, units, seed)
    sums = noised(found, noise, seed)
    read = read_evaluation(evaluation_content(Evaluation("alder", 1, "digest", sums)), classes).sums
    assert read.n == n
    np.testing.assert_array_equal(read.confusion.sum(axis=1), np.bincount(found[1], minlength=classes))
    np.testing.assert_array_equal(read.histogram[:, 1].sum(axis=1), read.confusion.sum(axis=1))
    np.testing.assert_array_equal(read.histogram.sum(axis=(1, 2)), [n] * classes)
    assert read.calibration[0].sum() == n
    assert (read.calibration[2] <= read.calibration[0]).all()
    assert not read.labels.size
    known = metrics(read)
    assert all(
        value is None or (math.isfinite(value) and value >= 0)
        for value in (known.auroc, known.accuracy, known.loss, known.calibration_error, known.f1)
    )


def test_metrics_of_two_classes_agree_with_each_other() -> None:
    sums = noised(predictions(300, 2, 120), 3.0)
    right = sums.confusion.diagonal().sum()
    assert sums.calibration[2].sum() == right
    np.testing.assert_array_equal(sums.histogram[0], sums.histogram[1, ::-1, ::-1])
