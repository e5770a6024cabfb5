"""The coordinator's noise is the plan's whoever answers; a site moves the sum by the clip norm at most."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from common.errors import PrivacyUnreachable
from common.study import Study
from common.update import Contribution
from common.weights import Weights, norm, subtract
from server.gaussian import gaussian, source_of
from server.site_privacy import SiteMechanism, clipped_sum

BASE = {"w": np.zeros((60, 50), np.float32), "b": np.zeros(500, np.float32), "n": np.array(0, np.int64)}
SMALL = {"w": np.zeros((2, 3), np.float32), "b": np.zeros(2, np.float32)}
VALUES = st.floats(-1e4, 1e4, width=32)
UPDATES = st.fixed_dictionaries(
    {name: arrays.arrays(np.float32, array.shape, elements=VALUES) for name, array in SMALL.items()}
)


def mechanism(**changes: Any) -> SiteMechanism:
    values = {
        "clip_norm": 2.0, "noise_multiplier": 1.5, "sample_rate": 1.0, "planned_sites": 10,
        "target_delta": 1e-5, "accountant": "prv", "noise_seed": 1,
    }  # fmt: skip
    return SiteMechanism(**{**values, **changes})


def update(size: float, seed: int = 0) -> dict[str, NDArray[Any]]:
    """An update of that L2 norm."""
    draw = np.random.default_rng(seed)
    delta = {name: draw.normal(0, 1, array.shape).astype(array.dtype) for name, array in BASE.items()}
    scale = np.float32(size / norm(delta))
    return {name: (array * scale).astype(array.dtype) for name, array in delta.items()}


def gave(*deltas: Weights) -> list[Contribution]:
    return [Contribution(f"s{n}", 1, "", delta, 10, 0.5) for n, delta in enumerate(deltas)]


def values_of(weights: Weights) -> NDArray[np.float64]:
    return np.concatenate([np.ravel(array) for array in weights.values()])


# Clipping


@given(st.lists(UPDATES, min_size=1, max_size=5), st.integers(0, 4), st.floats(1e-3, 1e3))
def test_one_site_moves_the_sum_by_its_clip_norm_at_most(
    deltas: Sequence[Weights], which: int, clip_norm: float
) -> None:
    which %= len(deltas)
    without = [delta for number, delta in enumerate(deltas) if number != which]
    moved = subtract(clipped_sum(deltas, SMALL, clip_norm), clipped_sum(without, SMALL, clip_norm))
    assert norm(moved) <= clip_norm * (1 + 1e-9)


@given(UPDATES, st.floats(1e-3, 1e3))
def test_an_update_is_clipped_as_one_vector(delta: Weights, clip_norm: float) -> None:
    found = clipped_sum([delta], SMALL, clip_norm)
    whole = norm(delta)
    factor = min(1.0, clip_norm / whole) if whole else 1.0
    for name in SMALL:
        np.testing.assert_allclose(found[name], factor * delta[name].astype(np.float64), rtol=1e-12)


def test_a_short_update_counts_as_it_is_and_a_huge_one_no_more_than_another() -> None:
    short, huge = {"w": np.array([0.3, 0.4], np.float32)}, {"w": np.array([-3e38, 0.0], np.float32)}
    found = clipped_sum([short, huge], short, 1.0)["w"]
    np.testing.assert_allclose(found, [np.float32(0.3) - 1.0, np.float32(0.4)], atol=1e-7)


def test_the_sum_of_nobody_is_zero() -> None:
    assert all(not array.any() for array in clipped_sum([], BASE, 1.0).values())


# Noise


@pytest.mark.parametrize("answered", [0, 1, 4, 10, 13])
@pytest.mark.parametrize(("rate", "planned"), [(1.0, 10), (0.25, 10), (1.0, 3)])
def test_the_released_means_noise_does_not_depend_on_who_answered(
    answered: int, rate: float, planned: int
) -> None:
    plan = mechanism(sample_rate=rate, planned_sites=planned)
    given = gave(*(update(5.0, seed) for seed in range(answered)))
    total = clipped_sum([one.delta for one in given], BASE, plan.clip_norm)
    noise = [
        values_of(plan.release(number, BASE, given).delta) - values_of(total) / (rate * planned)
        for number in range(1, 9)
    ]
    found, claimed = np.concatenate(noise), 1.5 * 2.0 / (rate * planned)
    # 28,008 values: five standard errors of a standard deviation are 2.1 %.
    assert found.std() == pytest.approx(claimed, rel=0.022)
    assert abs(found.mean()) < 5 * claimed / math.sqrt(found.size)


def test_sites_that_are_missing_do_not_make_the_others_louder() -> None:
    plan = mechanism(noise_multiplier=0.01, clip_norm=1.0, planned_sites=8)
    alike = [update(0.5)] * 8
    for answered in (1, 4, 8):
        released = plan.release(1, BASE, gave(*alike[:answered]))
        assert released.cases == 1
        direction = values_of(update(0.5)) / 0.5
        assert float(values_of(released.delta) @ direction) == pytest.approx(0.5 * answered / 8, abs=0.01)


def test_all_sites_count_the_same_whatever_their_cases() -> None:
    plan = mechanism()
    small, large = (
        [
            Contribution("a", 1, "", update(1.0, 1), cases, 0.5),
            Contribution("b", 1, "", update(1.0, 2), 10, 0.5),
        ]
        for cases in (1, 100_000)
    )
    assert np.array_equal(*(values_of(plan.release(1, BASE, given).delta) for given in (small, large)))


def test_seeded_noise_can_be_had_again_and_differs_between_rounds_and_seeds() -> None:
    def noise(seed: int | None, number: int) -> NDArray[np.float64]:
        return values_of(mechanism(noise_seed=seed).release(number, BASE, []).delta)

    assert np.array_equal(noise(1, 1), noise(1, 1))
    assert not np.allclose(noise(1, 1), noise(1, 2)) and not np.allclose(noise(1, 1), noise(2, 1))
    assert not np.allclose(noise(None, 1), noise(None, 1))


@pytest.mark.parametrize("seed", [0, None])
def test_noise_is_standard_normal(seed: int | None) -> None:
    found = np.sort(gaussian(source_of(seed, "test"), (200, 300)).ravel())
    ranks = (np.arange(found.size) + 0.5) / found.size
    expected = np.array([NormalDist().inv_cdf(share) for share in ranks[:: found.size // 500]])
    # Kolmogorov: with 60,000 values the distance is above 0.0126 once in 10^8 times.
    distance = np.abs(np.vectorize(NormalDist().cdf)(found) - ranks).max()
    assert distance < 0.0126
    np.testing.assert_allclose(found[:: found.size // 500][5:-5], expected[5:-5], atol=0.1)
    assert gaussian(source_of(seed, "test"), ()).shape == ()


# Who is asked


def test_a_part_of_the_sites_is_a_poisson_sample_of_its_own_seed_alone() -> None:
    names = [f"s{number}" for number in range(40)]
    plan = mechanism(sample_rate=0.3)
    samples = [plan.choose(names, number) for number in range(1, 101)]
    assert samples == [plan.choose(names[::-1], number) for number in range(1, 101)]
    assert len({tuple(sample) for sample in samples}) == 100
    assert sum(map(len, samples)) / 4000 == pytest.approx(0.3, abs=0.04)
    assert mechanism(sample_rate=0.3, noise_seed=None).choose(names * 20, 1) != plan.choose(names * 20, 1)
    assert mechanism(noise_seed=None).choose(names, 1) == sorted(names)


# What it costs


def exact_epsilon(noise_multiplier: float, rounds: int, delta: float) -> float:
    """Of ``rounds`` Gaussian releases of everybody (Balle and Wang 2018, Theorem 8), by halving."""
    mu, cdf, low, high = math.sqrt(rounds) / noise_multiplier, NormalDist().cdf, 0.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        more = cdf(mu / 2 - middle / mu) - math.exp(middle) * cdf(-mu / 2 - middle / mu) > delta
        low, high = (middle, high) if more else (low, middle)
    return high


@pytest.mark.parametrize(("noise_multiplier", "rounds"), [(1.0, 1), (4.0, 10), (8.0, 60)])
def test_rounds_of_everybody_cost_what_the_gaussian_mechanism_does(
    noise_multiplier: float, rounds: int
) -> None:
    spent = mechanism(noise_multiplier=noise_multiplier).spent(rounds)
    exact = exact_epsilon(noise_multiplier, rounds, 1e-5)
    assert (spent.event.steps, spent.event.sample_rate) == (rounds, 1.0)
    assert exact * (1 - 1e-4) <= spent.epsilon <= exact * 1.02


def test_rounds_of_a_sample_cost_less() -> None:
    sampled = mechanism(noise_multiplier=1.2, sample_rate=0.2).spent(50)
    assert sampled.epsilon < mechanism(noise_multiplier=1.2).spent(50).epsilon / 2


def test_every_round_adds_and_the_accountant_is_the_studys() -> None:
    plan = mechanism(noise_multiplier=5.0)
    spent = [plan.spent(rounds).epsilon for rounds in (1, 2, 5)]
    assert spent == sorted(set(spent))
    assert mechanism(noise_multiplier=5.0, accountant="rdp").spent(5).epsilon > spent[-1]


# The study's section


def site_study(
    make_study: Callable[..., Study], rounds: int = 20, fraction: float = 1.0, **sites: Any
) -> Study:
    section = {"target_delta": 1e-5, "clip_norm": 0.5, "planned_sites": 7, **sites}
    # RDP, and by default everybody, because noise is then found in a hundredth of the time.
    privacy = {"accountant": "rdp", "sites": section}
    return make_study(privacy=privacy, federation={"rounds": rounds, "fraction_sites": fraction})


def test_a_study_without_site_privacy_has_no_mechanism(make_study: Callable[..., Study]) -> None:
    assert SiteMechanism.of(make_study(), None) is None
    assert SiteMechanism.of(make_study(privacy={"target_epsilon": 3.0}), None) is None


def test_the_mechanism_is_that_of_the_study(make_study: Callable[..., Study]) -> None:
    made = SiteMechanism.of(site_study(make_study, fraction=0.5, noise_multiplier=1.1), None)
    assert made == SiteMechanism(0.5, 1.1, 0.5, 7, 1e-5, "rdp", None)


def test_a_target_is_reached_by_the_last_round_and_hardly_missed(make_study: Callable[..., Study]) -> None:
    made = SiteMechanism.of(site_study(make_study, target_epsilon=4.0), 3)
    assert made is not None
    assert 0.97 * 4.0 <= made.spent(20).epsilon <= 4.0


def test_a_target_that_no_noise_reaches_is_refused(make_study: Callable[..., Study]) -> None:
    with pytest.raises(PrivacyUnreachable):
        SiteMechanism.of(site_study(make_study, rounds=100_000, target_epsilon=1e-6), None)
