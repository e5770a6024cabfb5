"""What an attack found: a lower bound on epsilon, how much it could have found, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from common.private.accounting import Accountant
from common.private.plan import PrivacyPlan

CONFIDENCE = 0.95
"""With which a bound is given."""

CONVICTION = 0.9999
"""With which a bound must exceed the claim before it counts as violated. A tight attack on a right engine
comes close to the claim from below, and at 95 % chance alone would sometimes carry it past."""


class Verdict(StrEnum):
    """What a finding says of the claim."""

    not_violated = "not violated"
    violated = "violated"
    indication = "indication"
    """Beyond the claim, but by a method that rests on an assumption: a reason to look, no proof."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What the study promises a unit of the site.

    Attributes:
        epsilon: Of all rounds together, by the accountant.
        delta: Of the guarantee.
        noise_multiplier: Of each step, as it is accounted.
        gradient_noise_multiplier: Of the gradients in each step; more where the clip norm is adapted, since
            the count for that is part of what a step releases.
        sample_rate: Probability with which a unit is in a step's batch.
        steps: Of all rounds together.
        clip_norm: Largest L2 norm of a unit's gradient; where it is adapted, the one it starts from.
        unit: Whose presence is hidden.
        units: How many the site trains on.
        accountant: Who added up.
    """

    epsilon: float
    delta: float
    noise_multiplier: float
    gradient_noise_multiplier: float
    sample_rate: float
    steps: int
    clip_norm: float
    unit: str
    units: int
    accountant: Accountant

    @property
    def mu(self) -> float:
        """How far a unit may move the gradients of a step, in standard deviations of their noise."""
        return 1 / self.gradient_noise_multiplier

    @staticmethod
    def of(plan: PrivacyPlan) -> Claim:
        """What a plan promises after all its rounds."""
        return Claim(
            epsilon=plan.epsilon_after(plan.rounds),
            delta=plan.target_delta,
            noise_multiplier=plan.noise_multiplier,
            gradient_noise_multiplier=plan.gradient_noise_multiplier,
            sample_rate=plan.sample_rate,
            steps=plan.rounds * plan.steps_per_round,
            clip_norm=plan.clip_norm,
            unit=plan.unit,
            units=plan.units,
            accountant=plan.accountant,
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one attack.

    Attributes:
        attack: Its name, stable.
        source: Where the method comes from.
        observations: How many outcomes it rests on.
        observed: What was seen, in a sentence.
        epsilon: Lower bound on epsilon at the claim's delta, with the confidence ``CONFIDENCE``.
        visible: The largest such bound that this attack could have given, had it succeeded every time.
        power: What it could and could not have seen, in a sentence.
        verdict: What it says of the claim.
        figures: Whatever else was measured, by name.
    """

    attack: str
    source: str
    observations: int
    observed: str
    epsilon: float
    visible: float
    power: str
    verdict: Verdict
    figures: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As written to attack.json."""
        return {
            "attack": self.attack,
            "source": self.source,
            "observations": self.observations,
            "observed": self.observed,
            "confidence": CONFIDENCE,
            "epsilon_at_least": self.epsilon,
            "epsilon_visible": self.visible,
            "power": self.power,
            "verdict": str(self.verdict),
            "figures": dict(self.figures),
        }
