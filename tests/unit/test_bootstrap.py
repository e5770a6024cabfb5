"""Intervals by drawing patients: as wide as theory says, wider where cases of a patient are alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from common.metrics import ClassificationSums, SeveralLabelsSums, intervals
from common.metrics.bootstrap import LEAST_PATIENTS
from server.record import pooled_and_sites
from server.report.intervals import wilson

Array = NDArray[Any]
CLASSES = ("normal", "lesion")


def sums_with(right: Array, patients: Array) -> ClassificationSums:
    """A model that calls the cases right that ``right`` (n,) says, each of them sure to 80 %."""
    labels = np.arange(len(right)) % 2
    second = np.where(right.astype(bool) == (labels == 1), 0.8, 0.2)
    counted = ClassificationSums.count(np.stack([1 - second, second], axis=1), labels, keep_scores=True)
    return replace(counted, patients=patients)


def independent(n: int, seed: int = 0) -> ClassificationSums:
    return sums_with(np.random.default_rng(seed).random(n) < 0.8, np.arange(n))


def width(ends: list[float]) -> float:
    return ends[1] - ends[0]


def test_of_independent_cases_it_is_about_that_of_wilson() -> None:
    sums = independent(400)
    found = intervals([sums], CLASSES)["accuracy"]
    share = float(sums.figures(CLASSES)["accuracy"])
    expected = wilson(share, 400)
    assert found[0] < share < found[1]
    assert found == pytest.approx([expected.low, expected.high], abs=0.015)


def test_cases_of_one_patient_that_are_alike_make_it_wider() -> None:
    right = np.random.default_rng(1).random(100) < 0.8
    alone = sums_with(np.repeat(right, 4), np.arange(400))
    together = sums_with(np.repeat(right, 4), np.repeat(np.arange(100), 4))
    one, other = (intervals([sums], CLASSES)["accuracy"] for sums in (alone, together))
    assert width(other) == pytest.approx(2 * width(one), rel=0.25)


def test_patients_of_two_sites_that_have_one_number_are_two() -> None:
    parts = [independent(60, seed) for seed in (1, 2)]
    found = intervals(parts, CLASSES)
    assert width(found["accuracy"]) < width(intervals(parts[:1], CLASSES)["accuracy"])
    assert found == intervals(parts, CLASSES)


def test_without_single_cases_or_enough_patients_there_is_none() -> None:
    assert intervals([independent(LEAST_PATIENTS - 1)], CLASSES) == {}
    unknown = replace(independent(100), patients=np.zeros(0, dtype=np.int64))
    assert intervals([unknown], CLASSES) == {}
    assert intervals([unknown, independent(100)], CLASSES) == {}
    assert intervals([ClassificationSums.none(2)], CLASSES) == {}


def test_a_figure_that_is_often_undefined_has_none() -> None:
    sums = sums_with(np.ones(60), np.arange(60))
    one_class = replace(
        ClassificationSums.count(sums.scores, np.zeros(60, dtype=int), keep_scores=True),
        patients=np.arange(60),
    )
    found = intervals([one_class], CLASSES)
    assert "auroc" not in found and "accuracy" in found


def test_several_labels_have_them_too() -> None:
    rng = np.random.default_rng(0)
    truths = rng.integers(0, 2, (80, 3))
    scores = np.clip(0.5 + 0.3 * (truths - 0.5) + rng.normal(size=(80, 3)) * 0.2, 0.01, 0.99)
    counted = SeveralLabelsSums.count(scores, truths, keep_scores=True)
    found = intervals([replace(counted, patients=np.arange(80))], ("a", "b", "c"))
    value = counted.figures(("a", "b", "c"))["auroc"]
    assert found["auroc"][0] < value < found["auroc"][1]


def test_the_record_has_them_for_all_and_each_site_at_the_end() -> None:
    sums = {"elm": independent(50, 1), "fir": independent(20, 2)}
    found = pooled_and_sites(sums, CLASSES, curves=True)
    assert found is not None
    assert "accuracy" in found["pooled"]["intervals"] and "accuracy" in found["sites"]["elm"]["intervals"]
    assert "intervals" not in found["sites"]["fir"]
    during = pooled_and_sites(sums, CLASSES)
    assert during is not None and "intervals" not in during["pooled"]


@pytest.mark.parametrize("patients", [np.arange(3), np.full(50, -1), np.zeros((50, 1), dtype=np.int64)])
def test_numbers_that_are_no_patients_are_refused(patients: Array) -> None:
    with pytest.raises(ValueError, match="patients"):
        replace(independent(50), patients=patients).check_patients()
