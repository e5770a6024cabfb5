"""What a study's ``[privacy]`` means at a site of n units: sampling, clipping, noise and their price.

Everything here follows from the study and from n, both public, so coordinator and site come to the same plan.
This module imports no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from common.errors import InvalidValue
from common.private.accounting import Accountant, epsilon_of, noise_multiplier_for
from common.private.adaptive import AdaptiveClip, count_noise_for
from common.private.event import Event
from common.study import Federation, Privacy, Study

Unit = Literal["patient", "image"]

NEIGHBOURING = "add or remove one unit"
MOST_DELTA = 0.01
"""Largest delta that is chosen for a site: a guarantee that may fail more often is none."""


@dataclass(frozen=True, slots=True)
class PrivacyPlan:
    """One site's private training in a study.

    Attributes:
        unit: Whose presence is hidden.
        neighbouring: How datasets differ that must look alike.
        units: Of the site's training cases; public.
        sample_rate: Probability with which a unit is in a step's batch.
        steps_per_round: Steps, batches that came out empty included.
        rounds: Of the study.
        noise_multiplier: What is accounted: of the whole release of a step.
        gradient_noise_multiplier: What the clipped gradients get; more than ``noise_multiplier`` where the
            clip norm is adapted, since what it is adapted by is part of the step's release.
        clip_norm: Largest norm of a unit's gradient, or where it starts.
        adaptive_clip: How it follows the gradients; None for a fixed one.
        target_delta: Of the guarantee.
        accountant: Who adds up.
        max_cases_per_patient: Cases of one unit that a step looks at.
        secure_noise: Noise and sampling from a cryptographic source.
    """

    unit: Unit
    neighbouring: str
    units: int
    sample_rate: float
    steps_per_round: int
    rounds: int
    noise_multiplier: float
    gradient_noise_multiplier: float
    clip_norm: float
    adaptive_clip: AdaptiveClip | None
    target_delta: float
    accountant: Accountant
    max_cases_per_patient: int
    secure_noise: bool

    @property
    def expected_units(self) -> float:
        """Units of a batch in the mean; the noised sum of gradients is divided by it."""
        return self.sample_rate * self.units

    def round_event(self) -> Event:
        """What one round spends."""
        return Event(self.noise_multiplier, self.sample_rate, self.steps_per_round)

    def events_after(self, rounds: int) -> tuple[Event, ...]:
        """What so many rounds spend together."""
        return (Event(self.noise_multiplier, self.sample_rate, rounds * self.steps_per_round),)

    def epsilon_after(self, rounds: int) -> float:
        """What so many rounds cost a unit, at ``target_delta``."""
        return epsilon_of(self.events_after(rounds), self.target_delta, self.accountant)


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """The noise on a site's counts of its test cases, whose units are others than those of training.

    Attributes:
        unit: Whose presence is hidden.
        neighbouring: How datasets differ that must look alike.
        evaluations: How often the study evaluates.
        noise_multiplier: Of each evaluation's whole vector of counts, to which a unit adds at most norm 1.
        target_epsilon: What all evaluations together may cost.
        target_delta: Of the guarantee.
        accountant: Who adds up.
        secure_noise: Noise from a cryptographic source.
    """

    unit: Unit
    neighbouring: str
    evaluations: int
    noise_multiplier: float
    target_epsilon: float
    target_delta: float
    accountant: Accountant
    secure_noise: bool

    def event(self) -> Event:
        """What one evaluation spends."""
        return Event(self.noise_multiplier, 1.0, 1)

    def epsilon_after(self, evaluations: int) -> float:
        """What so many evaluations cost a unit, at ``target_delta``."""
        return epsilon_of(
            [Event(self.noise_multiplier, 1.0, evaluations)], self.target_delta, self.accountant
        )


def plan_of(study: Study, units: int) -> PrivacyPlan:
    """The plan of a site with ``units`` training patients, or images where these are the unit.

    Raises:
        InvalidValue: The study does not train privately at its sites.
        PrivacyUnreachable: No noise is enough for its ``target_epsilon``.
    """
    privacy = study.privacy
    if privacy is None or not privacy.at_sites:
        raise InvalidValue(
            f"study {study.study.name} has no target_epsilon and no noise_multiplier in [privacy]",
            hint="Give one of them; docs/privacy.md says what they mean.",
        )
    delta = target_delta(privacy, units)
    # A private study says how far to train, and never how long (local_epochs is None there alone).
    # It comes to whole steps, which a study is asked for when it is read.
    steps = round((study.training.local_epochs or 1) * privacy.steps_per_epoch)
    noise = _noise_multiplier(privacy, delta, study.federation.rounds * steps)
    clip = _adaptive_clip(privacy, noise, privacy.sample_rate * units)
    return PrivacyPlan(
        unit=privacy.unit,
        neighbouring=NEIGHBOURING,
        units=units,
        sample_rate=privacy.sample_rate,
        steps_per_round=steps,
        rounds=study.federation.rounds,
        noise_multiplier=noise,
        gradient_noise_multiplier=noise if clip is None else clip.gradient_noise(noise),
        clip_norm=privacy.clip_norm,
        adaptive_clip=clip,
        target_delta=delta,
        accountant=privacy.accountant,
        max_cases_per_patient=privacy.max_cases_per_patient,
        secure_noise=privacy.secure_noise,
    )


def evaluation_plan_of(study: Study, units: int) -> EvaluationPlan | None:
    """The plan of a site with ``units`` test patients (or images); None where counts are sent as they are.

    Raises:
        PrivacyUnreachable: No noise is enough for the study's ``evaluation_epsilon``.
    """
    privacy = study.privacy
    if privacy is None or privacy.evaluation_epsilon is None:
        return None
    delta, count = target_delta(privacy, units), evaluations(study.federation)
    epsilon = privacy.evaluation_epsilon
    return EvaluationPlan(
        unit=privacy.unit,
        neighbouring=NEIGHBOURING,
        evaluations=count,
        noise_multiplier=noise_multiplier_for(epsilon, delta, 1.0, count, privacy.accountant),
        target_epsilon=epsilon,
        target_delta=delta,
        accountant=privacy.accountant,
        secure_noise=privacy.secure_noise,
    )


def target_delta(privacy: Privacy, units: int) -> float:
    """The study's; or ``1 / n^1.1`` of a site's n units, and at most ``MOST_DELTA``."""
    if privacy.target_delta is not None:
        return privacy.target_delta
    return min(math.pow(max(units, 1), -1.1), MOST_DELTA)


def evaluations(federation: Federation) -> int:
    """How often a study evaluates: every so many rounds, and after the last."""
    whole, rest = divmod(federation.rounds, federation.evaluate_every)
    return whole + (rest > 0)


def _noise_multiplier(privacy: Privacy, delta: float, steps: int) -> float:
    """The study's; or the least with which so many steps stay within its ``target_epsilon``."""
    if privacy.noise_multiplier is not None:
        return privacy.noise_multiplier
    assert privacy.target_epsilon is not None  # noqa: S101  at_sites: one of the two is set
    return noise_multiplier_for(privacy.target_epsilon, delta, privacy.sample_rate, steps, privacy.accountant)


def _adaptive_clip(privacy: Privacy, noise: float, expected_units: float) -> AdaptiveClip | None:
    if privacy.clip_quantile is None:
        return None
    return AdaptiveClip(
        quantile=privacy.clip_quantile,
        rate=privacy.clip_rate,
        count_noise=count_noise_for(noise, expected_units),
        start=privacy.clip_norm,
    )
