"""Rounds whose coordinator hides sites: clipped, noised as planned, whoever is there and whoever is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import MessageType
from numpy.typing import NDArray

from common.errors import QuorumNotReached
from common.private.event import Event
from common.study.federation import MEAN_STRATEGIES
from common.weights import Weights, digest, norm, subtract
from server.rounds import RoundEngine
from server.site_privacy import SiteMechanism, clipped_sum
from server.strategies import build_strategy

Gather = Callable[..., Any]
EVERYBODY = ("alder", "birch", "cedar", "dogwood")


@pytest.fixture
def hidden(federation: Gather) -> Gather:
    """A federation whose coordinator hides sites, with noise that can be had again."""

    def make(*names: str, noise_seed: int | None = 5, faults: Any = None, **study: Any) -> Any:
        sites = {"noise_multiplier": 0.01, "clip_norm": 0.05, "planned_sites": 4, **study.pop("sites", {})}
        made = federation(*names, faults=faults, privacy={"sites": sites}, **study)
        strategy = build_strategy(made.study.federation.strategy)
        made.engine = RoundEngine(
            made.grid, made.study, made.seed, made.roster, strategy, noise_seed=noise_seed
        )
        return made

    return make


def moved(base: Weights, trained: Any) -> NDArray[Any]:
    return np.concatenate([a.ravel() for a in subtract(trained.weights, base).values()])


def test_a_round_that_hides_sites_is_their_clipped_noised_mean(hidden: Gather) -> None:
    made = hidden()
    trained = made.engine.train(1, made.base)
    assert all(norm(c.delta) > 0.05 for c in trained.contributions)
    plan = SiteMechanism.of(made.study, 5)
    assert plan is not None
    released = plan.release(1, made.base, trained.contributions)
    expected = {n: (a + released.delta[n]).astype(np.float32) for n, a in made.base.items()}
    assert digest(trained.weights) == digest(expected)
    assert norm(subtract(trained.weights, made.base)) < 0.06
    assert trained.site_spending is not None and trained.site_spending.event == Event(0.01, 1.0, 1)


@pytest.mark.parametrize("lost", [1, 3, 4])
def test_a_site_that_drops_out_leaves_noise_and_divisor_as_they_are(
    hidden: Gather, faults: Any, lost: int
) -> None:
    out = EVERYBODY[:lost]
    whole = hidden()
    everybody = whole.engine.train(1, whole.base)
    some = hidden(faults=dict.fromkeys(out, faults.refused()), federation={"min_sites": 3})
    trained = some.engine.train(1, some.base)
    assert len(trained.contributions) == 4 - lost and set(trained.missing) == set(out)
    absent = [c.delta for c in everybody.contributions if c.site in out]
    expected = clipped_sum(absent, whole.base, 0.05)
    difference = moved(whole.base, everybody) - moved(some.base, trained)
    np.testing.assert_allclose(
        difference, np.concatenate([a.ravel() for a in expected.values()]) / 4, atol=1e-6
    )
    assert trained.site_spending == everybody.site_spending


def test_a_round_that_nobody_answers_is_released_with_its_noise(hidden: Gather, faults: Any) -> None:
    everybody = dict.fromkeys(EVERYBODY, faults.refused())
    made = hidden(faults=everybody, sites={"noise_multiplier": 2.0})
    trained = made.engine.train(3, made.base)
    change = moved(made.base, trained)
    assert trained.contributions == () and len(trained.missing) == 4
    # Five standard errors of the standard deviation of so many values.
    assert change.std() == pytest.approx(2.0 * 0.05 / 4, rel=5 / np.sqrt(2 * change.size))
    assert trained.site_spending is not None and trained.site_spending.event.steps == 3


def test_too_few_sites_end_a_study_before_the_round_and_never_after(hidden: Gather) -> None:
    made = hidden(federation={"min_sites": 4})
    made.engine.train(1, made.base)
    made.grid.leave("alder")
    made.grid.asked.clear()
    with pytest.raises(QuorumNotReached, match="round 2: 3 sites there, 4 needed"):
        made.engine.train(2, made.base)
    assert MessageType.TRAIN not in {kind for kind, _ in made.grid.asked}


def test_a_part_of_the_sites_is_asked_by_chance_alone(hidden: Gather) -> None:
    made = hidden(federation={"fraction_sites": 0.5, "min_sites": 4}, sites={"planned_sites": 4})
    asked = []
    for number in range(1, 13):
        made.grid.asked.clear()
        trained = made.engine.train(number, made.base)
        asked.append(sorted(site for kind, site in made.grid.asked if kind == MessageType.TRAIN))
        assert [c.site for c in trained.contributions] == asked[-1] and trained.missing == {}
        assert trained.site_spending is not None and trained.site_spending.event.sample_rate == 0.5
    plan = SiteMechanism.of(made.study, 5)
    assert plan is not None
    assert asked == [plan.choose(EVERYBODY, number) for number in range(1, 13)]
    assert len({len(sites) for sites in asked}) > 2 and len(min(asked, key=len)) < 2


def test_the_coordinators_noise_is_secret_unless_a_simulation_seeds_it(hidden: Gather) -> None:
    def model(noise_seed: int | None) -> str:
        made = hidden(noise_seed=noise_seed)
        return digest(made.engine.train(1, made.base).weights)

    assert model(5) == model(5)
    assert model(5) != model(6) and model(None) != model(None)


@pytest.mark.parametrize("strategy", MEAN_STRATEGIES)
def test_strategies_of_a_mean_go_on_from_the_noised_one(hidden: Gather, strategy: str) -> None:
    made = hidden(federation={"strategy": strategy})
    first = made.engine.train(1, made.base)
    second = made.engine.train(2, first.weights)
    assert np.isfinite(norm(second.weights)) and digest(first.weights) != digest(second.weights)
