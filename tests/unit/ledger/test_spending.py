"""What a ledger adds up to, and what that means for one patient."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from client.ledger import Budget, Task
from client.ledger.guarantee import at_most, delta_words, epsilon_words, recognised
from common.private.event import Event
from tests.unit.ledger.benches import Bench

MakeTask = Callable[..., Task]


def test_each_study_by_itself_and_all_together(bench: Bench, task: MakeTask) -> None:
    bench.train(1)
    bench.train(2)
    bench.train(1, steps=6, study="hearts", study_digest="f" * 64, fingerprint="d" * 64)
    bench.ledger.reserve(task(2, purpose="evaluation"), Event(8.0, 1.0, 8), 1e-5)
    spent = bench.ledger.spent()
    lungs, hearts, tested = spent.studies
    assert (lungs.study, lungs.purpose, lungs.rounds, lungs.steps, lungs.open) == (
        "lungs",
        "training",
        2,
        20,
        0,
    )
    assert (hearts.study, hearts.steps, hearts.fingerprints) == ("hearts", 6, ("d" * 64,))
    assert (tested.purpose, tested.open, tested.events) == ("evaluation", 1, (Event(8.0, 1.0, 8),))
    assert [study.epsilon for study in spent.studies] == [20.0, 6.0, 1.0]
    assert (spent.epsilon, spent.left, spent.share) == (27.0, 73.0, 0.27)
    assert lungs.first < lungs.last < hearts.first


def test_one_name_of_two_studies_is_two(bench: Bench) -> None:
    bench.train(1)
    bench.train(1, study_digest="f" * 64)
    assert len(bench.ledger.spent().studies) == 2


def test_more_than_the_budget_leaves_nothing(bench: Bench) -> None:
    bench.train(1)
    bench.budget = Budget(4.0, 1e-5)
    spent = bench.ledger.spent()
    assert (spent.left, spent.share) == (0.0, 2.5)


# In words


def test_without_spending_nobody_is_recognised_better_than_by_chance() -> None:
    assert recognised([(0.0, 0.0)], 0.05) == pytest.approx(0.05)
    assert recognised([(0.0, 1e-5)], 0.05) == pytest.approx(0.05 + 1e-5)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.9, 1.0])
def test_the_bound_is_the_smaller_of_both_sides(epsilon: float, share: float) -> None:
    delta = 1e-3
    both = math.exp(epsilon) * share + delta, 1 - math.exp(-epsilon) * (1 - delta - share)
    assert recognised([(epsilon, delta)], share) == pytest.approx(min(1.0, *both))


def test_every_point_of_the_curve_may_give_the_best_bound() -> None:
    curve = [(6.0, 1e-5), (2.0, 0.05), (0.5, 0.3)]
    assert recognised(curve, 0.01) == pytest.approx(min(recognised([point], 0.01) for point in curve))
    assert recognised(curve, 0.01) < recognised(curve[:1], 0.01)


def test_no_bound_is_no_bound() -> None:
    assert recognised([(math.inf, 1e-5)], 0.01) == pytest.approx(1.0)
    assert recognised([], 0.01) == 1.0
    assert epsilon_words(math.inf) == "no bound"


def test_a_gaussian_cannot_be_told_apart_better_than_the_bound_says() -> None:
    from statistics import NormalDist

    from common.private.accounting import epsilon_of

    curve = [(epsilon_of([Event(1.0, 1.0, 1)], delta, "prv"), delta) for delta in (1e-5, 1e-2, 0.1, 0.3)]
    normal = NormalDist()
    for share in (0.01, 0.05, 0.1, 0.5):
        best = normal.cdf(normal.inv_cdf(share) + 1.0)  # Neyman and Pearson's test of N(0, 1) against N(1, 1)
        assert best <= recognised(curve, share) < best + 0.15


@pytest.mark.parametrize(
    ("epsilon", "words"), [(0.0, "0.00"), (2.901, "2.91"), (2.9, "2.90"), (7.9999, "8.00"), (0.0001, "0.01")]
)
def test_bounds_are_rounded_up(epsilon: float, words: str) -> None:
    assert epsilon_words(epsilon) == words


def test_shares_are_rounded_up() -> None:
    told = [at_most(share).replace("\N{NO-BREAK SPACE}", " ") for share in (0.15, 0.151, 0.9961, 1.0, 0.0)]
    assert told == ["at most 15 %", "at most 16 %", "at most 99.7 %", "at most 100.0 %", "at most 0 %"]


def test_delta_is_told_in_people() -> None:
    assert delta_words(1e-5) == "1e-05, one in 100,000"
