"""Metrics read off sums agree with scikit-learn on the cases behind them; undefined ones are None."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as reference

from common.metrics import CALIBRATION_BINS, ClassificationSums, Metrics, curves_of, metrics_of

Array = NDArray[Any]
RATIOS = [f.name for f in fields(Metrics) if f.name not in ("n", "labels")]


def predictions(seed: int, n: int, classes: int, levels: int = 0) -> tuple[Array, Array]:
    """(n, C) probabilities that lean to the truth, rounded to ``levels`` values if given; and (n,) labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) * 2 + np.eye(classes)[labels]
    if levels:
        logits = np.round(logits * levels) / levels
    scores = np.exp(logits)
    return scores / scores.sum(axis=1, keepdims=True), labels


def names(classes: int) -> list[str]:
    return [f"class {c}" for c in range(classes)]


def measured(scores: Array, labels: Array, keep_scores: bool = True) -> Metrics:
    sums = ClassificationSums.count(scores, labels, keep_scores=keep_scores)
    return metrics_of(sums, names(scores.shape[1]))


def one_vs_rest(scores: Array, labels: Array) -> float:
    """Mean AUROC over the classes that occur; in a binary study that of the second class."""
    classes = [1] if scores.shape[1] == 2 else np.unique(labels)
    return float(np.mean([reference.roc_auc_score(labels == c, scores[:, c]) for c in classes]))


def average_precision(scores: Array, labels: Array) -> float:
    """Mean over the classes that occur; in a binary study that of the second class."""
    classes = [1] if scores.shape[1] == 2 else np.unique(labels)
    return float(np.mean([reference.average_precision_score(labels == c, scores[:, c]) for c in classes]))


def specificity(guess: Array, labels: Array, classes: int) -> float:
    """Recall of the cases that are not of a class."""
    reported = [1] if classes == 2 else np.unique(labels)
    return float(np.mean([reference.recall_score(labels != c, guess != c) for c in reported]))


def calibration_error(scores: Array, labels: Array) -> float:
    """Naeini et al. 2015, bin by bin."""
    confidence, correct = scores.max(axis=1), scores.argmax(axis=1) == labels
    error = 0.0
    for number in range(CALIBRATION_BINS):
        low, high = number / CALIBRATION_BINS, (number + 1) / CALIBRATION_BINS
        inside = (confidence >= low) & ((confidence < high) | (high == 1))
        if inside.any():
            error += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())
    return error


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("levels", [0, 1], ids=["smooth", "ties"])
@pytest.mark.parametrize("seed", range(3))
def test_metrics_are_scikit_learn_s(classes: int, levels: int, seed: int) -> None:
    scores, labels = predictions(seed, 200, classes, levels)
    found, guess = measured(scores, labels), scores.argmax(axis=1)
    averaged = {"average": "binary"} if classes == 2 else {"average": "macro", "labels": np.unique(labels)}
    expected = {
        "loss": reference.log_loss(labels, scores, labels=range(classes)),
        "accuracy": reference.accuracy_score(labels, guess),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, guess),
        "auroc": one_vs_rest(scores, labels),
        "auprc": average_precision(scores, labels),
        "f1": reference.f1_score(labels, guess, **averaged),
        "recall": reference.recall_score(labels, guess, **averaged),
        "precision": reference.precision_score(labels, guess, **averaged),
        "calibration_error": calibration_error(scores, labels),
        "specificity": specificity(guess, labels, classes),
        "brier": np.mean(np.square(scores - np.eye(classes)[labels]).sum(axis=1)),
    }
    assert {name: getattr(found, name) for name in RATIOS} == pytest.approx(expected, abs=1e-12)
    assert (found.n, list(found.labels.values())) == (200, np.bincount(labels, minlength=classes).tolist())


def test_classes_that_do_not_occur_are_left_out_of_means() -> None:
    scores, labels = predictions(1, 60, 4)
    kept = labels < 3
    scores, labels = scores[kept], labels[kept]
    found, guess = measured(scores, labels), scores.argmax(axis=1)
    present = {"average": "macro", "labels": [0, 1, 2]}
    assert found.auroc == pytest.approx(one_vs_rest(scores, labels))
    assert found.recall == pytest.approx(reference.recall_score(labels, guess, **present))
    assert found.f1 == pytest.approx(reference.f1_score(labels, guess, **present))
    assert found.balanced_accuracy == pytest.approx(found.recall)
    assert found.labels["class 3"] == 0


def test_auroc_of_equal_scores_is_a_half() -> None:
    assert measured(np.full((6, 2), 0.5), np.array([0, 1, 1, 0, 0, 0])).auroc == 0.5


def test_auroc_knows_perfect_and_reversed() -> None:
    scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    assert measured(scores, np.array([0, 0, 1])).auroc == 1.0
    assert measured(scores, np.array([1, 1, 0])).auroc == 0.0


@pytest.mark.parametrize("keep_scores", [True, False])
@pytest.mark.parametrize("classes", [2, 3])
def test_without_cases_nothing_is_defined(classes: int, keep_scores: bool) -> None:
    found = measured(np.zeros((0, classes)), np.zeros(0, dtype=int), keep_scores)
    assert found.n == 0
    assert {getattr(found, name) for name in RATIOS} == {None}


@pytest.mark.parametrize("keep_scores", [True, False])
def test_without_positives_what_needs_them_is_undefined(keep_scores: bool) -> None:
    found = measured(np.array([[0.8, 0.2], [0.4, 0.6]]), np.array([0, 0]), keep_scores)
    assert (found.auroc, found.recall, found.precision, found.f1) == (None, None, 0.0, 0.0)
    assert (found.accuracy, found.balanced_accuracy) == (0.5, 0.5)


def test_without_negatives_auroc_is_undefined_and_recall_is_not() -> None:
    found = measured(np.array([[0.8, 0.2], [0.4, 0.6]]), np.array([1, 1]))
    assert (found.auroc, found.recall, found.precision) == (None, 0.5, 1.0)


def test_without_positive_predictions_precision_is_undefined() -> None:
    found = measured(np.array([[0.8, 0.2], [0.9, 0.1]]), np.array([0, 1]))
    assert (found.precision, found.recall, found.f1) == (None, 0.0, 0.0)


def test_certain_and_wrong_costs_a_finite_loss() -> None:
    found = measured(np.array([[1.0, 0.0]]), np.array([1]))
    assert found.loss == pytest.approx(-np.log(1e-12))
    assert found.calibration_error == 1.0


def test_metrics_are_plain_json() -> None:
    text = json.dumps(measured(*predictions(0, 20, 3)).to_dict(), allow_nan=False)
    assert set(json.loads(text)) == {f.name for f in fields(Metrics)}


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_histogram_s_auroc_is_near_the_exact_one(classes: int, seed: int) -> None:
    scores, labels = predictions(seed, 2000, classes)
    exact, binned = (measured(scores, labels, keep).auroc for keep in (True, False))
    assert exact == pytest.approx(one_vs_rest(scores, labels))
    assert binned == pytest.approx(exact, abs=0.01)
    assert binned != exact


@pytest.mark.parametrize("classes", [2, 3])
def test_brier_score_of_a_histogram_is_near_the_exact_one(classes: int) -> None:
    scores, labels = predictions(7, 2000, classes)
    exact, binned = (measured(scores, labels, keep).brier for keep in (True, False))
    assert binned == pytest.approx(exact, abs=0.001) and binned != exact


def test_each_of_several_classes_has_figures_of_its_own() -> None:
    scores, labels = predictions(8, 300, 3)
    curves = curves_of(ClassificationSums.count(scores, labels, keep_scores=True), names(3))
    for c, name in enumerate(names(3)):
        rest = reference.recall_score(labels == c, scores.argmax(axis=1) == c)
        assert curves["recall_by_class"][name] == pytest.approx(rest)
        area = reference.roc_auc_score(labels == c, scores[:, c])
        assert curves["auroc_by_class"][name] == pytest.approx(area)
    assert "recall_by_class" not in curves_of(ClassificationSums.none(2), names(2))


def test_only_the_ranking_needs_single_scores() -> None:
    scores, labels = predictions(0, 100, 2)
    kept, binned = (measured(scores, labels, keep).to_dict() for keep in (True, False))
    assert {name for name in kept if kept[name] != binned[name]} == {"auroc", "auprc", "brier"}


@pytest.mark.parametrize(("first", "second", "exact"), [(1, 1, True), (1, 0, False), (0, 0, False)])
def test_sum_is_exact_only_if_every_part_is(first: bool, second: bool, exact: bool) -> None:
    scores, labels = predictions(0, 10, 2)
    total = sum_of(
        ClassificationSums.count(scores[:4], labels[:4], keep_scores=bool(first)),
        ClassificationSums.count(scores[4:], labels[4:], keep_scores=bool(second)),
    )
    assert (total.n, total.exact) == (10, exact)


def sum_of(*parts: ClassificationSums) -> ClassificationSums:
    return ClassificationSums.total(list(parts))


def test_site_without_cases_leaves_a_sum_exact() -> None:
    scores, labels = predictions(0, 10, 2)
    nothing = ClassificationSums.count(scores[:0], labels[:0], keep_scores=False)
    assert sum_of(nothing, ClassificationSums.count(scores, labels, keep_scores=True)).exact


def test_single_scores_stay_at_the_site_unless_asked_for() -> None:
    scores, labels = predictions(0, 10, 3)
    sums = ClassificationSums.count(scores, labels, keep_scores=False)
    assert (sums.scores.shape, sums.labels.shape, sums.n) == ((0, 3), (0,), 10)


@pytest.mark.parametrize("value", [0.0, 1e-30, 0.5, 1 - 1e-16, 1.0])
def test_every_score_has_a_bin(value: float) -> None:
    sums = ClassificationSums.count(np.array([[1 - value, value]]), np.array([1]), keep_scores=False)
    assert sums.histogram.sum(axis=(1, 2)).tolist() == [1, 1]
    assert sums.histogram[1, 1].sum() == sums.histogram[0, 0].sum() == sums.calibration[0].sum() == 1


@pytest.mark.parametrize("keep_scores", [True, False])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("n", [2, 150, 199, 200, 1000])
def test_curves_are_short_and_rise_from_0_to_1(n: int, classes: int, keep_scores: bool) -> None:
    scores, labels = predictions(3, n, classes)
    labels[:classes] = np.arange(classes)[:n]
    curves = curves_of(ClassificationSums.count(scores, labels, keep_scores=keep_scores), names(classes))
    assert list(curves["roc"]) == names(classes)[1 if classes == 2 else 0 :]
    for name in names(classes)[1 : min(classes, n)]:
        false, true = curves["roc"][name]["fpr"], curves["roc"][name]["tpr"]
        assert len(false) == len(true) <= 200
        assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
        assert (np.diff(false) >= 0).all() and (np.diff(true) >= 0).all()


def test_short_roc_curve_is_the_exact_one() -> None:
    scores, labels = predictions(5, 60, 2)
    roc = curves_of(ClassificationSums.count(scores, labels, keep_scores=True), names(2))["roc"]["class 1"]
    false, true, _ = reference.roc_curve(labels, scores[:, 1], drop_intermediate=False)
    assert roc["fpr"] == pytest.approx(false, abs=1e-5)
    assert roc["tpr"] == pytest.approx(true, abs=1e-5)


def test_thinned_roc_curve_keeps_the_area() -> None:
    scores, labels = predictions(6, 3000, 2)
    sums = ClassificationSums.count(scores, labels, keep_scores=True)
    roc = curves_of(sums, names(2))["roc"]["class 1"]
    assert reference.auc(roc["fpr"], roc["tpr"]) == pytest.approx(one_vs_rest(scores, labels), abs=0.002)


def test_curves_of_one_class_or_none_are_empty() -> None:
    for labels in (np.zeros(4, dtype=int), np.ones(4, dtype=int), np.zeros(0, dtype=int)):
        scores = np.full((len(labels), 2), 0.5)
        for keep_scores in (True, False):
            curves = curves_of(ClassificationSums.count(scores, labels, keep_scores=keep_scores), names(2))
            assert curves["roc"]["class 1"] == {"fpr": [], "tpr": []}


def test_reliability_curve_has_a_place_for_every_bin() -> None:
    scores = np.array([[0.99, 0.01], [0.95, 0.05], [0.4, 0.6]])
    curve = curves_of(ClassificationSums.count(scores, np.array([0, 1, 1]), keep_scores=False), names(2))
    calibration = curve["calibration"]
    assert {len(values) for values in calibration.values()} == {CALIBRATION_BINS}
    assert (calibration["n"][-1], calibration["n"][9], sum(calibration["n"])) == (2, 1, 3)
    assert calibration["accuracy"][-1] == 0.5
    assert calibration["confidence"][-1] == pytest.approx(0.97)
    assert calibration["accuracy"][0] is None
    assert json.loads(json.dumps(curve, allow_nan=False)) == curve
