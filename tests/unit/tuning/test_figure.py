"""What trials are compared by, and how far the best of them is to be believed."""

from __future__ import annotations

import random
from collections.abc import Callable
from statistics import fmean, stdev

import pytest

from common.errors import InvalidValue
from common.study import Study
from deploy.tuning.figure import Score, figure_of, luck


def test_the_tasks_own_figure_speaks_unless_another_is_named(study: Callable[..., Study]) -> None:
    assert figure_of(study(), None).key == "auroc"
    assert not figure_of(study(), "loss").higher_is_better
    assert figure_of(study(), "f1").higher_is_better
    with pytest.raises(InvalidValue, match=r"dice.*auroc, accuracy"):
        figure_of(study(), "dice")


def test_the_spread_is_that_of_the_folds() -> None:
    assert Score(0.8, (0.7, 0.8, 0.9)).spread == pytest.approx(0.1)
    assert Score(0.8, (0.8,)).spread == 0.0


@pytest.mark.parametrize("trials", [2, 5, 20])
def test_luck_is_what_the_best_of_equal_trials_is_too_high_by(trials: int) -> None:
    draw, folds = random.Random(trials), [0.7, 0.8, 0.9]
    noise = stdev(folds) / len(folds) ** 0.5
    drawn = fmean(max(draw.gauss(0, noise) for _ in range(trials)) for _ in range(20_000))
    assert luck(trials, folds) == pytest.approx(drawn, rel=0.06)


def test_one_trial_owes_nothing_to_luck() -> None:
    assert luck(1, [0.7, 0.9]) == luck(9, [0.7]) == 0.0
