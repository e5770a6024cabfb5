"""Canaries measure the separation of releases honestly, and a finding says what it could have seen."""

from __future__ import annotations

import math

import pytest
import torch

from common.private.accounting import epsilon_of
from common.private.event import Event
from deploy.attack.canaries import Effort, composed, measure, noise_noticed
from deploy.attack.finding import Claim, Verdict
from deploy.attack.stage import Observations, Stage

SIZE = 3


def claim_of(noise_multiplier: float = 1.0) -> Claim:
    epsilon = epsilon_of([Event(noise_multiplier, 0.1, 100)], 1e-3, "rdp")
    return Claim(epsilon, 1e-3, noise_multiplier, noise_multiplier, 0.1, 100, 1.0, "patient", 50, "rdp")


def stage_of(mu: float, seed: int, reach: float = 2.0) -> Stage:
    """Releases of Gaussians that are ``mu`` apart along the second axis."""
    draw = torch.Generator().manual_seed(seed)
    axis = torch.eye(SIZE)[1]
    return Stage(
        name=f"mu {mu}",
        present=lambda: torch.randn(SIZE, generator=draw) + mu * axis,
        without=lambda: torch.randn(SIZE, generator=draw),
        direction=axis,
        reach=reach,
    )


def test_errors_count_what_lies_on_the_wrong_side() -> None:
    seen = Observations(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([-1.0, 0.5, 1.0, 3.0]))
    errors = seen.errors(1.0)
    assert (errors.misses, errors.present, errors.false_alarms, errors.without) == (1, 3, 2, 4)


def test_the_best_threshold_lies_between_what_is_apart() -> None:
    seen = Observations(torch.linspace(4.0, 5.0, 50), torch.linspace(0.0, 1.0, 50))
    threshold, shown = seen.best_threshold(0.95)
    assert 1.0 < threshold <= 4.0
    assert seen.errors(threshold).misses == seen.errors(threshold).false_alarms == 0
    assert shown > 2.0


def test_the_stage_that_shows_most_is_measured_and_stays_below_the_truth() -> None:
    found = [
        measure("test", [stage_of(0.1, seed), stage_of(1.0, seed + 50)], claim_of(), Effort(60, 300))
        for seed in range(12)
    ]
    mus = [finding.figures["mu_at_least"] for finding in found]
    assert sum(mu > 1.0 for mu in mus) <= 1
    assert sum(mu > 0.5 for mu in mus) >= 11
    assert all(finding.verdict is Verdict.not_violated for finding in found)
    assert all("mu 1.0" in finding.observed and finding.observations == 600 for finding in found)


def test_more_than_is_claimed_is_a_violation() -> None:
    finding = measure("test", [stage_of(2.0, 0)], claim_of(), Effort(60, 1500))
    assert finding.verdict is Verdict.violated
    assert finding.epsilon > claim_of().epsilon


def test_a_violation_needs_more_than_the_bound_that_is_told() -> None:
    # At 95 % chance alone goes beyond a claim that is met; at 99.99 % it does not.
    finding = measure("test", [stage_of(1.25, 3)], claim_of(), Effort(60, 400))
    assert finding.figures["mu_at_least_for_verdict"] < finding.figures["mu_at_least"]
    assert (finding.verdict is Verdict.violated) == (finding.figures["mu_at_least_for_verdict"] > 1.0)


def test_what_is_measured_is_composed_as_what_is_claimed() -> None:
    claim = claim_of()
    assert composed(claim.mu, claim) == claim.epsilon
    assert composed(0.0, claim) == 0.0
    assert 0.0 < composed(0.5, claim) < claim.epsilon < composed(2.0, claim) < math.inf


@pytest.mark.parametrize("noise_multiplier", [0.7, 2.0, 5.0])
def test_more_releases_notice_smaller_faults(noise_multiplier: float) -> None:
    claim = claim_of(noise_multiplier)
    few, many = noise_noticed(claim, 300), noise_noticed(claim, 8000)
    assert 0.0 < few < many < 1.0
    assert many > 0.5  # noise that was halved, at any noise of use


def test_a_canary_that_is_never_clipped_is_told() -> None:
    short = measure("test", [stage_of(0.5, 0, reach=0.5)], claim_of(), Effort(20, 200))
    full = measure("test", [stage_of(1.0, 0)], claim_of(), Effort(20, 200))
    assert "clipping is not put to the test" in short.power and "is put to the test" in full.power
    assert short.figures["noise_noticed_below"] == pytest.approx(full.figures["noise_noticed_below"] / 2)
