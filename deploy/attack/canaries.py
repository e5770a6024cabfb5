"""White-box canaries: the noise of a single step, measured on what the private engine releases.

Who sees every released gradient and knows every other unit sees ``sum + noise`` with or without a canary,
and best tells the two by the inner product with the canary's own gradient g (Nasr et al. 2023, "Tight
auditing of differentially private machine learning", section 5). If clipping and noise are as claimed, the
two are Gaussians of standard deviation ``noise_multiplier * C`` that are ``min(||g||, C)`` apart: mu is 1 /
noise_multiplier, and no more.

What is measured, and what the verdict rests on, is the mu of a step. The epsilon beside it is that of a
training whose every step leaks as much, by the accountant of the claim.

The same is looked for along the difference that the canary makes in the engine's own sum, which an engine
that mixes up records turns away from g.

The statistics are kept honest so: where to look and from which value on to call "with the canary" is chosen
on one set of releases; the bound is computed on another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import torch

from common.models import SequenceClassifier
from common.private.accounting import epsilon_of
from common.private.event import Event
from common.private.secret import Secret
from common.seeds import derive_seed
from common.sequences import SequenceBatch
from deploy.attack.bounds import Errors, mu_of_errors
from deploy.attack.crafting import SCALES, clearest, crafted, direction, of_unit
from deploy.attack.finding import CONFIDENCE, CONVICTION, Claim, Finding, Verdict
from deploy.attack.own_gradient import own_gradient, trainable
from deploy.attack.releases import Engine, WholeStep
from deploy.attack.scenes import COMPANIONS, Scene, scenes
from deploy.attack.stage import Released, Stage
from deploy.attack.subject import Subject

CANDIDATES = 8
"""Units of whose cases canaries are made."""

NORMALS = 10**9
"""Noise values that the bound may take; a larger model gets fewer releases."""

SECURE_COST = 10
"""How many values from torch's generator one from the cryptographic source costs."""

LEAST_MU = 1e-3
"""Less than this is no separation that an accountant could turn into an epsilon."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How many releases an attack takes, each number with the canary and again without.

    Attributes:
        choosing: At each stage, to choose where to look and from which value on to call "with the canary".
        releases: At the chosen stage, for the bound.
    """

    choosing: int
    releases: int


ENGINE, STEPS = Effort(100, 8000), Effort(50, 500)
"""Of clipping and noise alone, and of whole steps, each of which costs a forward and a backward pass."""


def look(
    subject: Subject,
    states: Mapping[str, SequenceClassifier],
    engine: Effort = ENGINE,
    steps: Effort = STEPS,
) -> Iterator[Finding]:
    """What canaries show of the engine's clipping and noise, and of whole steps of training.

    Args:
        subject: Whom to attack.
        states: Models along a training by name, none of which drops anything; the last is the one at which
            whole steps are made.
        engine: Of the first.
        steps: Of the second.
    """
    claim, plan = subject.claim, subject.plan
    of_engine, of_steps = [], []
    for name, model in states.items():
        seed = derive_seed(subject.seed, "attack", "canaries", name)
        clipping = Engine(model, plan, subject.study, Secret.seeded(seed, "engine"))
        stepping = WholeStep(model, plan, subject.study, seed)
        found = list(_scenes(subject, model, seed))
        for scene in found:
            stage = _stage(scene, name, model, clipping.releasing, claim)
            of_engine += [stage, _turned(stage, scene, clipping)]
        of_steps = [_stage(scene, name, model, stepping.releasing, claim) for scene in found]
    cost = sum(weight.numel() for weight in trainable(model)) * (SECURE_COST if plan.secure_noise else 1)
    affordable = max(steps.releases, min(engine.releases, NORMALS // (2 * cost)))
    yield measure("canaries, clipping and noise", of_engine, claim, Effort(engine.choosing, affordable))
    yield measure("canaries, whole steps", of_steps, claim, steps)


def measure(attack: str, stages: Sequence[Stage], claim: Claim, effort: Effort) -> Finding:
    """What the canaries show of one step, and what that means for the whole training.

    Args:
        attack: Its name.
        stages: Where to look, at least one.
        claim: What is claimed.
        effort: How many releases.
    """
    chosen = [stage.observe(effort.choosing).best_threshold(CONFIDENCE) for stage in stages]
    best = max(range(len(stages)), key=lambda number: chosen[number][1])
    stage, threshold, releases = stages[best], chosen[best][0], effort.releases
    errors = stage.observe(releases).errors(threshold)
    mu, surely = (mu_of_errors(errors, confidence) for confidence in (CONFIDENCE, CONVICTION))
    noticed = noise_noticed(claim, releases) * min(1.0, stage.reach)
    return Finding(
        attack=attack,
        source="Nasr et al. 2023",
        observations=2 * releases,
        observed=(
            f"one step moves by at least {mu:.3f} standard deviations of its noise, where {claim.mu:.3f} is "
            f"claimed (canary {stage.name}: {errors.false_alarms} false alarms, {errors.misses} misses of "
            f"{releases} each)"
        ),
        epsilon=composed(mu, claim),
        visible=composed(mu_of_errors(Errors(0, releases, 0, releases), CONFIDENCE), claim),
        power=_power(stage.reach, noticed),
        verdict=Verdict.violated if surely > claim.mu else Verdict.not_violated,
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


def _scenes(subject: Subject, model: SequenceClassifier, seed: int) -> Iterator[Scene]:
    draw = torch.Generator().manual_seed(seed)
    classes, most = len(subject.study.study.classes), subject.plan.max_cases_per_patient
    order = torch.randperm(subject.plan.units, generator=draw)[: CANDIDATES + COMPANIONS].tolist()
    units = [of_unit(subject.train, subject.units, unit, most) for unit in order]
    first = min(CANDIDATES, -(-len(units) // 2))
    made = [crafted(unit, classes, scale, draw) for unit in units[:first] for scale in SCALES]
    return scenes(clearest(model, made), units[first:], draw)


def _stage(
    scene: Scene,
    state: str,
    model: SequenceClassifier,
    releasing: Callable[[Sequence[SequenceBatch]], Released],
    claim: Claim,
) -> Stage:
    canary = scene.units[scene.canary]
    gradient = own_gradient(model, canary)
    return Stage(
        name=f"{scene.name}, {state}",
        present=releasing(scene.units),
        without=releasing(scene.without),
        direction=direction(gradient),
        reach=float(gradient.norm()) / claim.clip_norm,
    )


def _turned(stage: Stage, scene: Scene, engine: Engine) -> Stage:
    """The same stage, looked at along what the canary really changes in the engine's sum.

    Where a canary changes what becomes of others, that is the better direction: who knows the engine knows
    it.
    """
    changed = engine.clipped_sum(scene.units) - engine.clipped_sum(scene.without)
    return replace(stage, name=f"{stage.name}, by what it changes", direction=direction(changed))
