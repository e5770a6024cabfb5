"""What is out of all measure is refused; hospitals that differ, however much, are not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from common.errors import UpdateRefused
from server.gate.lengths import MOST_OF_MODEL, Length, check_length, deviations


def passes(
    own: Length,
    others: Sequence[Length],
    before: Sequence[Length] = (),
    earlier: Sequence[Length] = (),
    *,
    noised: bool = False,
    model: float = 16.0,
) -> bool:
    try:
        check_length(own[0], model, deviations(own, others, before, earlier, noised=noised))
    except UpdateRefused as error:
        assert error.code == "update-refused"
        return False
    return True


ALIKE: list[Length] = [(1.0, 100), (1.2, 100), (0.9, 100), (1.1, 100)]


@pytest.mark.parametrize(
    ("factor", "let_in"), [(0.0, True), (1.0, True), (9.0, True), (11.5, False), (1e6, False)]
)
def test_ten_times_the_usual_is_the_limit(factor: float, let_in: bool) -> None:
    assert passes((1.05 * factor, 100), ALIKE) is let_in


def test_median_and_mad_are_those_of_the_group() -> None:
    (found,) = deviations((5.0, 1), [(1.0, 1), (2.0, 1), (4.0, 1)], [], [], noised=False)
    assert found.factor == 2.5 and found.z == pytest.approx(3 / 1.4826)


def test_equal_lengths_do_not_make_the_next_one_an_outlier() -> None:
    (found,) = deviations((1.5, 1), [(1.0, 1)] * 5, [], [], noised=False)
    assert found.z == pytest.approx(0.5 / 0.14826) and passes((1.5, 1), [(1.0, 1)] * 5)


def test_a_spread_cohort_is_given_its_spread() -> None:
    wide: list[Length] = [(1.0, 1), (1.0, 1), (9.0, 1), (20.0, 1), (21.0, 1)]
    assert passes((95.0, 1), wide) and not passes((300.0, 1), wide)


def test_too_few_to_tell_are_no_group() -> None:
    assert passes((1000.0, 1), [])
    assert passes((1000.0, 1), [(1.0, 1)])
    assert passes((1000.0, 1), [(1.0, 1)], before=[(1.0, 1)] * 4)
    assert passes((1000.0, 1), [(0.0, 1), (0.0, 1)])
    assert not passes((1000.0, 1), [(1.0, 1)], before=[(1.0, 1)] * 5)
    assert not passes((1000.0, 1), [(1.0, 1)] * 2)


def test_alone_a_site_is_not_judged_by_its_own_past() -> None:
    assert passes((1000.0, 1), [], before=[(1.0, 1)] * 9, earlier=[(1.0, 1)] * 9)


@pytest.mark.parametrize("norm", [17_000.0, 1e30, float("inf"), float("nan")])
def test_a_thousand_models_are_too_many_even_from_the_first_of_two_sites(norm: float) -> None:
    assert not passes((norm, 100), [(1.0, 100)])
    assert passes((0.99 * MOST_OF_MODEL * 16, 100), [(1.0, 100)])


def test_a_model_of_almost_nothing_may_grow() -> None:
    assert passes((900.0, 1), [], model=1e-9) and not passes((1001.0, 1), [], model=1e-9)


def test_one_giant_among_the_others_hides_nobody_and_accuses_nobody() -> None:
    others: list[Length] = [(1.0, 1), (1.1, 1), (1e6, 1)]
    assert passes((1.0, 1), others) and not passes((1e6, 1), others[:2])
    assert not passes((1e6, 1), [(1.0, 1), (1.0, 1), (1.0, 1), (1e6, 1)])


def test_a_round_that_trains_harder_together_is_in_measure() -> None:
    before: list[Length] = [(1.0, 1)] * 12
    assert passes((30.0, 1), [(29.0, 1), (31.0, 1)], before, [(1.0, 1)] * 4)
    assert not passes((30.0, 1), [(1.0, 1), (1.2, 1)], before, [(1.0, 1)] * 4)


def test_a_site_that_was_always_long_stays_in_measure() -> None:
    small: list[Length] = [(1.0, 20), (1.0, 20)]
    mine: list[Length] = [(50.0, 1000)] * 3
    assert passes((55.0, 1000), small, small * 3 + mine, mine)
    assert not passes((1500.0, 1000), small, small * 3 + mine, mine)


def test_cases_explain_a_longer_update_in_proportion_and_no_further() -> None:
    small: list[Length] = [(0.3, 10), (0.3, 10)]
    assert passes((300.0, 1000), small) and not passes((310.0, 1000), small)
    assert not passes((301.0, 10**6), [(0.0003, 10), (0.0003, 10)])  # a thousand times is the most


def test_fewer_cases_explain_a_longer_update_only_under_noise() -> None:
    large: list[Length] = [(1.0, 1000), (1.0, 1000)]
    assert not passes((50.0, 10), large) and passes((50.0, 10), large, noised=True)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("noised", [False, True])
def test_honest_hospitals_of_every_size_are_never_refused(power: float, noised: bool) -> None:
    """Lengths that go as a power of the cases, scattered and falling over the rounds; noise as 1 / cases."""
    rng = np.random.default_rng(11)
    for _ in range(20):
        cases = [int(c) for c in np.exp(rng.uniform(np.log(20), np.log(5000), rng.integers(3, 9)))]
        before: list[tuple[int, Length]] = []
        for number in range(20):
            usual = [(1 / c if noised else c**power) * 0.9**number for c in cases]
            lengths = [
                (float(u * np.exp(0.4 * rng.standard_normal())), c) for u, c in zip(usual, cases, strict=True)
            ]
            for site, own in enumerate(lengths):
                others = lengths[:site] + lengths[site + 1 :]
                earlier = [one for known, one in before if known == site]
                assert passes(own, others, [one for _, one in before], earlier, noised=noised, model=1e6)
            before = (before + list(enumerate(lengths)))[-10 * len(cases) :]


def test_three_updates_of_its_own_say_more_of_a_site_than_its_cases_do() -> None:
    small: list[Length] = [(0.3, 20), (0.3, 20)]
    assert passes((30.0, 1000), small, small * 3, [(1.0, 1000)] * 2)
    assert not passes((30.0, 1000), small, small * 3, [(1.0, 1000)] * 3)
    assert passes((30.0, 1000), small, small * 3, [(1.0, 200)] * 3)  # it has five times the cases by now
