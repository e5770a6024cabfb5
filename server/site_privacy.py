"""``[privacy.sites]``: the models hide whether a whole site took part.

    released = (sum_i delta_i min(1, C / |delta_i|) + N(0, (z C)^2 I)) / (q W)

over the sites i that answered, with C ``clip_norm``, z ``noise_multiplier``, q ``fraction_sites`` and W
``planned_sites``: DP-FedAvg with a fixed denominator and equal weights (McMahan et al. 2018, "Learning
Differentially Private Recurrent Language Models", Alg. 1). Neighbours differ by the presence of one site.

Invariant: noise and divisor are those of the plan. Who answered has a part in the clipped sum and in nothing
else, so a site that drops out neither weakens the noise nor shows in the scale of the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from common.private.event import Event
from common.study import Study
from common.update import Contribution
from common.weights import Weights, norm
from server.gaussian import gaussian, source_of
from server.selection import poisson_sample


@dataclass(frozen=True, slots=True)
class SiteSpending:
    """What the rounds so far have cost every site, as an event and as epsilon for the plan's delta."""

    event: Event
    epsilon: float


@dataclass(frozen=True, slots=True)
class SiteMechanism:
    """The coordinator's mechanism with its plan and its accountant.

    Attributes:
        clip_norm: Largest L2 norm of a site's update, all its arrays as one vector.
        noise_multiplier: Standard deviation of the noise on the sum, as a multiple of ``clip_norm``.
        sample_rate: Probability with which a site is asked in a round.
        planned_sites: How many sites the study counts on.
        target_delta: What epsilon is stated for.
        accountant: ``prv`` or ``rdp``.
        noise_seed: Of noise and sampling in a simulation; None draws both from the operating system.
    """

    clip_norm: float
    noise_multiplier: float
    sample_rate: float
    planned_sites: int
    target_delta: float
    accountant: Literal["prv", "rdp"]
    noise_seed: int | None = None

    @classmethod
    def of(cls, study: Study, noise_seed: int | None) -> SiteMechanism | None:
        """The mechanism that a study asks for, or None.

        Raises:
            PrivacyUnreachable: No noise of use reaches the study's ``target_epsilon``.
        """
        if study.privacy is None or study.privacy.sites is None:
            return None
        asked = study.privacy.sites
        return cls(
            clip_norm=asked.clip_norm,
            noise_multiplier=asked.noise_multiplier or _enough_noise(study, asked.target_epsilon or 0.0),
            sample_rate=study.federation.fraction_sites,
            planned_sites=asked.planned_sites,
            target_delta=asked.target_delta,
            accountant=study.privacy.accountant,
            noise_seed=noise_seed,
        )

    def choose(self, sites: Iterable[str], round_number: int) -> list[str]:
        """Who is asked in a round: a Poisson sample that no site can foresee."""
        return poisson_sample(
            sites, self.sample_rate, source_of(self.noise_seed, "site-selection", round_number)
        )

    def release(self, round_number: int, base: Weights, given: Sequence[Contribution]) -> Contribution:
        """The noised mean as one contribution, for a strategy to do with as it likes.

        Args:
            round_number: Absolute, from 1.
            base: The model the updates are of.
            given: Every update of the round, however few.
        """
        source = source_of(self.noise_seed, "site-noise", round_number)
        size, divisor = self.noise_multiplier * self.clip_norm, self.sample_rate * self.planned_sites
        total = clipped_sum([one.delta for one in given], base, self.clip_norm)
        mean = {
            name: (array + size * gaussian(source, array.shape)) / divisor for name, array in total.items()
        }
        return Contribution(site="", round=round_number, base_digest="", delta=mean, cases=1)

    def spent(self, rounds: int) -> SiteSpending:
        """What ``rounds`` releases cost; a round costs the same whether or not anybody answered."""
        from common.private.accounting import epsilon_of  # SciPy and the accountants take a second

        event = Event(self.noise_multiplier, self.sample_rate, rounds)
        return SiteSpending(event, epsilon_of([event], self.target_delta, self.accountant))


def clipped_sum(deltas: Sequence[Weights], base: Weights, clip_norm: float) -> dict[str, NDArray[np.float64]]:
    """``sum_i delta_i min(1, clip_norm / |delta_i|)`` in float64, each update taken as one vector.

    Args:
        deltas: In any number, none included.
        base: Whose names and shapes they have.
        clip_norm: Bounds what one update adds, and so what its absence takes away.
    """
    total = {name: np.zeros(array.shape) for name, array in base.items()}
    for delta in deltas:
        length = norm(delta)
        factor = 1.0 if length <= clip_norm else clip_norm / length
        for name, array in total.items():
            array += factor * delta[name].astype(np.float64)
    return total


def _enough_noise(study: Study, target_epsilon: float) -> float:
    """The noise multiplier with which all rounds together cost ``target_epsilon``."""
    from common.private.accounting import noise_multiplier_for  # as above

    assert study.privacy is not None and study.privacy.sites is not None  # noqa: S101  as the caller saw
    return noise_multiplier_for(
        target_epsilon,
        study.privacy.sites.target_delta,
        study.federation.fraction_sites,
        study.federation.rounds,
        study.privacy.accountant,
    )
