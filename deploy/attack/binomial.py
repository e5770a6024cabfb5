"""Exact binomial tails, and what a count of successes says of their probability."""

from __future__ import annotations

import math
from functools import lru_cache

import torch

_HALVINGS = 45


def at_least(successes: int, trials: int, probability: float) -> float:
    """``P[Binomial(trials, probability) >= successes]``, exact to rounding."""
    if successes <= 0:
        return 1.0
    if probability <= 0.0 or successes > trials:
        return 0.0
    if probability >= 1.0:
        return 1.0
    return min(1.0, float(_log_masses(trials, probability)[successes:].logsumexp(0).exp()))


def masses(trials: int, probability: float) -> torch.Tensor:
    """(trials + 1,) float64, ``P[Binomial(trials, probability) = k]`` of each k; probability in (0, 1)."""
    return _log_masses(trials, probability).exp()


@lru_cache(maxsize=4096)
def upper_rate(successes: int, trials: int, confidence: float) -> float:
    """The largest probability that so few successes leave possible (Clopper and Pearson 1934, one-sided).

    It is the p with ``P[Binomial(trials, p) <= successes] = 1 - confidence``, and 1 where all succeeded:
    below the true probability in at most ``1 - confidence`` of all experiments, whatever that is.

    Args:
        successes: From 0 to ``trials``.
        trials: At least 0.
        confidence: In (0, 1).
    """
    if successes >= trials:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        # Failures are counted: where their tail is rare, no precision is lost to 1 - tail.
        if at_least(trials - successes, trials, 1 - middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def lower_rate(successes: int, trials: int, confidence: float) -> float:
    """The smallest probability that so many successes leave possible; 0 where none succeeded."""
    return 1.0 - upper_rate(trials - successes, trials, confidence)


def _log_masses(trials: int, probability: float) -> torch.Tensor:
    successes = torch.arange(trials + 1, dtype=torch.float64)
    return (
        _log_choices(trials)
        + successes * math.log(probability)
        + (trials - successes) * math.log1p(-probability)
    )


@lru_cache(maxsize=8)
def _log_choices(trials: int) -> torch.Tensor:
    """(trials + 1,) logarithms of the binomial coefficients."""
    successes = torch.arange(trials + 1, dtype=torch.float64)
    whole = math.lgamma(trials + 1)
    return whole - torch.lgamma(successes + 1) - torch.lgamma(trials - successes + 1)
