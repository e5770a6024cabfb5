"""What epsilon and delta mean for one patient, in numbers that need no mathematics."""

from __future__ import annotations

import math
from collections.abc import Iterable

from common.page.wording import number

FALSE_ALARMS = (0.01, 0.05, 0.10)
"""Shares of wrong suspicions for which the bound is told."""

DELTAS = (0.003, 0.02, 0.05, 0.15, 0.3)
"""Where else the curve of epsilon over delta is looked up: each point of it is a guarantee by itself."""

_LARGEST = 700.0  # beyond, exp overflows; the bound is 1 long before


def recognised(curve: Iterable[tuple[float, float]], false_alarms: float) -> float:
    """Share of the patients who took part that anybody can recognise at most.

    Whatever test is made of all that was sent, if it wrongly suspects a share ``a`` of those who did not
    take part, it rightly suspects at most ``min(e^epsilon a + delta, 1 - e^-epsilon (1 - delta - a))`` of
    those who did (Kairouz et al. 2015, Theorem 2.1). That holds for every point of the curve.

    Args:
        curve: Epsilons, at least 0 and perhaps infinite, each with a delta in (0, 1) that it holds for.
        false_alarms: ``a``, in [0, 1].
    """
    return min((_recognised(epsilon, delta, false_alarms) for epsilon, delta in curve), default=1.0)


def _recognised(epsilon: float, delta: float, false_alarms: float) -> float:
    factor = math.exp(min(epsilon, _LARGEST))
    return min(1.0, factor * false_alarms + delta, 1.0 - (1.0 - delta - false_alarms) / factor)


def epsilon_words(epsilon: float) -> str:
    """Epsilon with two digits, rounded up since it is a bound."""
    return f"{math.ceil(round(epsilon * 100, 6)) / 100:.2f}" if math.isfinite(epsilon) else "no bound"


def delta_words(delta: float) -> str:
    """``1e-05, one in 100,000``."""
    return f"{delta:g}, one in {number(round(1 / delta))}"


def at_most(share: float) -> str:
    """``at most 18 %``, rounded up since it is a bound."""
    digits = 0 if share < 0.99 else 1
    scale = 100 * 10**digits
    return f"at most {math.ceil(round(share * scale, 6)) / 10**digits:.{digits}f}\N{NO-BREAK SPACE}%"
