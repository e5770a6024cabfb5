"""What is read off an order of scores agrees with scikit-learn; of binned scores it is near."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as reference

from common.metrics.ranking import ROC_POINTS, SCORE_BINS, Ranking, score_histogram

Array = NDArray[Any]
seeds = pytest.mark.parametrize("seed", range(4))


def cases(seed: int, n: int = 300, levels: int | None = None) -> tuple[Array, Array]:
    """(n,) scores that lean to the truth, rounded to so many levels if given; (n,) whether positive."""
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.2
    scores = 1 / (1 + np.exp(-rng.normal(size=n) - positive))
    return (scores if levels is None else np.round(scores * levels) / levels), positive


@seeds
@pytest.mark.parametrize("levels", [None, 6], ids=["smooth", "ties"])
def test_areas_are_scikit_learn_s(seed: int, levels: int | None) -> None:
    scores, positive = cases(seed, levels=levels)
    found = Ranking.of_scores(scores, positive)
    assert found.auroc() == pytest.approx(reference.roc_auc_score(positive, scores))
    assert found.auprc() == pytest.approx(reference.average_precision_score(positive, scores))


@seeds
def test_binned_scores_give_nearly_the_same(seed: int) -> None:
    scores, positive = cases(seed, n=3000)
    exact = Ranking.of_scores(scores, positive)
    binned = Ranking.of_histogram(score_histogram(scores, positive))
    assert binned.auroc() == pytest.approx(exact.auroc(), abs=0.005)
    assert binned.auprc() == pytest.approx(exact.auprc(), abs=0.01)
    assert binned.sensitivity(0.9) == pytest.approx(exact.sensitivity(0.9), abs=0.02)
    assert binned.specificity(0.9) == pytest.approx(exact.specificity(0.9), abs=0.02)


@seeds
@pytest.mark.parametrize("wanted", [0.0, 0.5, 0.9, 0.95, 1.0])
def test_operating_points_are_the_best_of_all_thresholds(seed: int, wanted: float) -> None:
    scores, positive = cases(seed, n=120)
    points = [(1.0, 0.0)]  # a threshold that calls nothing positive
    for threshold in np.unique(scores):
        called = scores >= threshold
        points.append(((~called & ~positive).sum() / (~positive).sum(), called[positive].mean()))
    found = Ranking.of_scores(scores, positive)
    assert found.sensitivity(wanted) == pytest.approx(max(se for sp, se in points if sp >= wanted - 1e-12))
    assert found.specificity(wanted) == pytest.approx(max(sp for sp, se in points if se >= wanted - 1e-12))


@pytest.mark.parametrize("positive", [[], [True], [False, False]], ids=["none", "one side", "other side"])
def test_without_both_sides_nothing_is_defined(positive: list[bool]) -> None:
    sides = np.array(positive, dtype=bool)
    found = Ranking.of_scores(np.linspace(0, 1, len(sides)), sides)
    assert (found.auroc(), found.auprc(), found.sensitivity(0.9), found.specificity(0.9)) == (None,) * 4
    assert found.curve() == {"fpr": [], "tpr": []}


def test_extreme_scores_have_a_bin() -> None:
    counted = score_histogram(np.array([0.0, 1.0, 0.5]), np.array([False, True, True]))
    assert counted.shape == (2, SCORE_BINS) and counted.sum() == 3
    assert counted[0, 0] == counted[1, -1] == 1


def test_the_curve_is_thinned_and_goes_from_corner_to_corner() -> None:
    curve = Ranking.of_scores(*cases(0, n=5000)).curve()
    assert len(curve["fpr"]) == len(curve["tpr"]) <= ROC_POINTS
    assert (curve["fpr"][0], curve["tpr"][0], curve["fpr"][-1], curve["tpr"][-1]) == (0.0, 0.0, 1.0, 1.0)
