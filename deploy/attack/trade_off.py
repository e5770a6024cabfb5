"""Gaussian differential privacy: one number for how well two datasets can be told apart.

A mechanism is mu-GDP if no test of "the unit was there" does better than telling N(0, 1) from N(mu, 1)
(Dong, Roth and Su 2022, "Gaussian differential privacy", Def. 2.6): with false alarms alpha and misses
beta, ``Phi^-1(1 - alpha) - Phi^-1(beta) <= mu``. One release of a clipped sum is mu-GDP with mu = 1 /
noise_multiplier.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import torch

_NORMAL = NormalDist()
_MOST_EPSILON, _MOST_MU = 10_000.0, 100.0
_HALVINGS = 60


def quantile(probability: float) -> float:
    """``Phi^-1``, infinite at 0 and 1."""
    if probability <= 0.0 or probability >= 1.0:
        return -math.inf if probability <= 0.0 else math.inf
    return _NORMAL.inv_cdf(probability)


def separation(false_alarms: float, misses: float) -> float:
    """The mu that a test with these two error rates shows, at least 0.

    Args:
        false_alarms: Share of the releases without the unit that the test calls with it.
        misses: Share of the releases with the unit that it calls without it.
    """
    return max(0.0, -quantile(false_alarms) - quantile(misses))


def fewest_false_alarms(power: float, mu: float) -> float:
    """The false alarms that a test of a mu-GDP mechanism cannot avoid if it finds ``power`` of what is there.

    ``Phi(Phi^-1(power) - mu)``.
    """
    return 0.5 * math.erfc(-(quantile(power) - mu) / math.sqrt(2.0))


def delta_of(epsilon: float, mu: float) -> float:
    """The delta of a mu-GDP mechanism at ``epsilon`` (Dong et al. 2022, Cor. 2.13).

    ``Phi(-epsilon / mu + mu / 2) - e^epsilon Phi(-epsilon / mu - mu / 2)``.
    """
    ends = torch.tensor([-epsilon / mu + mu / 2, -epsilon / mu - mu / 2], dtype=torch.float64)
    near, far = torch.special.log_ndtr(ends).tolist()
    return float(math.exp(near) - math.exp(min(epsilon + far, near)))


def epsilon_of_mu(mu: float, delta: float) -> float:
    """The epsilon of a mu-GDP mechanism at ``delta``: where :func:`delta_of` comes down to it."""
    if mu <= 0.0 or delta_of(0.0, mu) <= delta:
        return 0.0
    low, high = 0.0, _MOST_EPSILON
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle, mu) > delta else (low, middle)
    return low


def mu_of_epsilon(epsilon: float, delta: float) -> float:
    """The mu of a Gaussian mechanism that has this epsilon at ``delta``."""
    low, high = 0.0, _MOST_MU
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon_of_mu(middle, delta) < epsilon else (low, middle)
    return low
