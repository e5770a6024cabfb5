"""A clip norm that follows the gradients, its share of the privacy paid for (Andrew et al. 2021).

Beside the clipped gradients of a batch, the units whose gradients stayed whole are counted, with noise:

    share_t = (sum_u (1[||g_u|| <= C_t] - 1/2) + N(0, count_noise^2)) / expected units + 1/2
    C_{t+1} = C_t exp(-rate (share_t - quantile))

One unit moves that sum by at most 1/2. Sum of gradients and count are one Gaussian release of the noise
multiplier ``z`` if the gradients get ``(z^-2 - (2 count_noise)^-2)^(-1/2)`` instead (Thm. 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

COUNT_SHARE = 0.1
"""Most that the count may take of a step's privacy, as its share of ``z^-2``."""

EXPECTED_PER_NOISE = 20.0
"""Expected units of a batch for each unit of the count's noise, where that is cheaper."""

REACH = 1000.0
"""How far the clip norm may go from the study's, as a factor; so it stays a number."""


@dataclass(frozen=True, slots=True)
class AdaptiveClip:
    """How the clip norm follows.

    Attributes:
        quantile: Share of the units whose gradients shall stay whole.
        rate: How fast.
        count_noise: Standard deviation of the noise on the count.
        start: The study's clip norm.
    """

    quantile: float
    rate: float
    count_noise: float
    start: float

    def gradient_noise(self, noise_multiplier: float) -> float:
        """What the gradients get, so that with the count the step costs what ``noise_multiplier`` costs."""
        return 1 / math.sqrt(noise_multiplier**-2 - (2 * self.count_noise) ** -2)

    def next_norm(self, clip_norm: float, whole: int, units: int, expected: float, normal: float) -> float:
        """The clip norm of the next step.

        Args:
            clip_norm: Of this one.
            whole: Units whose gradients were no longer than it.
            units: Units in the batch.
            expected: How many were to be expected.
            normal: A standard normal value, from the site's secret.
        """
        noised = whole - units / 2 + self.count_noise * normal
        moved = clip_norm * math.exp(-self.rate * (noised / expected + 0.5 - self.quantile))
        return min(max(moved, self.start / REACH), self.start * REACH)


def count_noise_for(noise_multiplier: float, expected_units: float) -> float:
    """Standard deviation of the noise on the count of units that stayed whole.

    A twentieth of the expected batch, as Andrew et al. advise; more where the count would then take over
    ``COUNT_SHARE`` of the step's privacy, and so raise the gradients' noise by over 5.5 %.
    """
    cheapest = noise_multiplier / (2 * math.sqrt(COUNT_SHARE))
    return max(expected_units / EXPECTED_PER_NOISE, cheapest)
