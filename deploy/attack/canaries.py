"""White-box canaries: the noise of a single step, measured on what the private engine releases.

Who sees every released gradient and knows every other unit sees ``sum + noise`` with or without a canary, and
best tells the two by the inner product with the canary's own gradient g (Nasr et al. 2023, "Tight auditing of
differentially private machine learning", section 5). If clipping and noise are as claimed, the two are Gaussians
of standard deviation ``noise_multiplier * C`` that are ``min(||g||, C)`` apart: mu is 1 / noise_multiplier, and no
more. What is measured is mu, and the noise that it means is composed over all steps as the claimed noise is.

The statistics are kept honest so: where to look and from which value on to call "with the canary" is chosen on
one set of releases; the bound is computed on another.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

from common.private.accounting import epsilon_of
from common.private.event import Event
from deploy.attack.bounds import Errors, mu_of_errors
from deploy.attack.finding import CONFIDENCE, CONVICTION, Claim, Finding, Verdict
from deploy.attack.stage import Stage

LEAST_MU = 1e-3
"""Less than this is no separation that an accountant could turn into an epsilon."""


def measure(attack: str, stages: Sequence[Stage], claim: Claim, choosing: int, releases: int) -> Finding:
    """What the canaries show of one step, and what that means for the whole training.

    Args:
        attack: Its name.
        stages: Where to look, at least one.
        claim: What is claimed.
        choosing: Releases of either kind at each stage, on which stage and threshold are chosen.
        releases: Of either kind, at the stage that shows most, for the bound.
    """
    chosen = [stage.observe(choosing).best_threshold(CONFIDENCE) for stage in stages]
    best = max(range(len(stages)), key=lambda number: chosen[number][1])
    stage, threshold = stages[best], chosen[best][0]
    errors = stage.observe(releases).errors(threshold)
    mu = mu_of_errors(errors, CONFIDENCE)
    surely = mu_of_errors(errors, CONVICTION)
    noticed = noise_noticed(claim, releases) * min(1.0, stage.reach)
    return Finding(
        attack=attack,
        source="Nasr et al. 2023",
        observations=2 * releases,
        observed=(
            f"one step moves by at least {mu:.3f} standard deviations of its noise, and {claim.mu:.3f} are claimed "
            f"(canary {stage.name}: {errors.false_alarms} false alarms, {errors.misses} misses of {releases} each)"
        ),
        epsilon=composed(mu, claim),
        visible=composed(mu_of_errors(Errors(0, releases, 0, releases), CONFIDENCE), claim),
        power=_power(stage.reach, noticed),
        verdict=Verdict.violated if surely > claim.mu else Verdict.holds,
        figures={
            "mu_at_least": mu,
            "mu_at_least_for_verdict": surely,
            "mu_claimed": claim.mu,
            "canary_reach": stage.reach,
            "noise_noticed_below": noticed,
        },
    )


def composed(mu: float, claim: Claim) -> float:
    """Epsilon of the claimed training if mu is that of each of its steps: its noise is 1 / mu."""
    if mu < LEAST_MU:
        return 0.0
    return epsilon_of([Event(1 / mu, claim.sample_rate, claim.steps)], claim.delta, claim.accountant)


def noise_noticed(claim: Claim, releases: int) -> float:
    """The share of the claimed noise below which this many releases are expected to convict an engine."""
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        wrong = round(releases * NormalDist().cdf(-claim.mu / middle / 2))
        errors = Errors(wrong, releases, wrong, releases)
        low, high = (middle, high) if mu_of_errors(errors, CONVICTION) > claim.mu else (low, middle)
    return low


def _power(reach: float, noticed: float) -> str:
    clipped = (
        f"The canary's gradient is {reach:.1f} clip norms long, so clipping is put to the test."
        if reach > 1.0
        else f"The canary's gradient is only {reach:.2f} clip norms long: clipping is not put to the test."
    )
    return f"Noise below {noticed:.0%} of what is claimed would be noticed. {clipped}"
