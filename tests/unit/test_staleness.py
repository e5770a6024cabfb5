"""What a late update weighs, and that whoever is on time weighs what it always did."""

from __future__ import annotations

import numpy as np
import pytest

from common.study import parse_study
from common.study.federation import MEAN_STRATEGIES
from common.update import Contribution
from common.weights import Weights
from server.strategies import build_strategy, weight_of

HEAD = {"name": "x", "labels": {"0": "normal", "1": "abnormal"}}


def update(site: str, cases: int, value: float, trained_for: int = 4) -> Contribution:
    delta = {"w": np.full((2, 3), value, dtype=np.float32)}
    return Contribution(site, trained_for, "0" * 64, delta, cases, loss=1.0)


def combined(name: str, *contributions: Contribution) -> Weights:
    study = parse_study({"study": HEAD, "federation": {"strategy": name}})
    return build_strategy(study.federation.strategy).combine(4, contributions)


@pytest.mark.parametrize(
    ("trained_for", "weight"), [(4, 100.0), (3, 100 / 2**0.5), (2, 100 / 3**0.5), (1, 50.0)]
)
def test_weight_falls_with_the_root_of_one_and_the_rounds_late(trained_for: int, weight: float) -> None:
    assert weight_of(update("a", 100, 0.0, trained_for), 4) == weight


def test_on_time_the_weight_is_the_number_of_cases_itself() -> None:
    assert type(weight_of(update("a", 7, 0.0), 4)) is int, "no rounding, whatever the number"


def test_a_mean_goes_by_these_weights() -> None:
    mean = combined("fedavg", update("a", 10, 1.0), update("b", 30, 5.0, trained_for=1))
    np.testing.assert_allclose(np.asarray(mean["w"]), (10 * 1.0 + 15 * 5.0) / 25, rtol=1e-12)


@pytest.mark.parametrize("name", MEAN_STRATEGIES)
def test_every_strategy_of_a_mean_does(name: str) -> None:
    """Three rounds late with four times the cases is on time with twice the cases."""
    late = combined(name, update("a", 10, 1.0), update("b", 40, 5.0, trained_for=1))
    on_time = combined(name, update("a", 10, 1.0), update("b", 20, 5.0))
    np.testing.assert_array_equal(np.asarray(late["w"]), np.asarray(on_time["w"]))
    other = combined(name, update("a", 10, 1.0), update("b", 40, -5.0, trained_for=1))
    assert not np.array_equal(np.asarray(other["w"]), np.asarray(late["w"]))
