"""What events cost together: epsilon for a delta, by Opacus' accountants.

Invariants: every epsilon given out is an upper bound. It depends on what was spent, not on its order. Where
the PRV accountant (Gopi et al. 2021) cannot answer (noise too small, a grid too large), the Rényi bound
(Mironov et al. 2019) stands, which is as valid and a little larger.

Opacus is imported when it is first asked: it brings torch with it, and a ledger is read without.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import count
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import PrivacyUnreachable
from common.private.event import Event, merged

Accountant = Literal["prv", "rdp"]
Epsilon = Callable[[float], float]
Vector = NDArray[np.float64]

LEAST_NOISE, MOST_NOISE = 0.01, 1000.0
"""Noise multipliers that are looked at: the bounds of the study's own setting."""

TOLERANCE = 0.01
"""Share of a target epsilon that may be left unused."""

ORDERS = (
    *(1.0005, 1.002, 1.01, 1.05, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9),
    *(quarters / 4 for quarters in range(8, 48)),
    *(*range(12, 64), *range(64, 256, 8), *range(256, 513, 64)),
)
"""Rényi orders: near 1 for large epsilons, far from it for small ones. Finer steps would change epsilon by
less than half a per cent."""

GRID_ERROR = 0.004
"""Error of PRV's grid that is asked for, as a share of epsilon."""

LEAST_ERROR, MOST_ERROR = 5e-4, 0.3
"""Bounds of that error, in epsilon."""

LEAST_EPSILON = 0.02
"""Below it, a first answer is exact enough."""

MOST_POINTS = 2**21
"""Points of PRV's grid, times kinds of event: about a second."""

MOST_KINDS = 32
"""Kinds of event that PRV is asked to compose; each costs a tenth of a second before any grid."""

MOST_LOSS = 600.0
"""Largest privacy loss on PRV's grid; beyond, its exponentials lose digits and then overflow."""

LEAST_DELTA = 1e-12
"""Below it, rounding errors in PRV's sums are no longer small beside delta."""


def epsilon_of(events: Iterable[Event], delta: float, accountant: Accountant) -> float:
    """What the events cost together: whether a unit was there is hidden up to ``(epsilon, delta)``.

    Args:
        events: In any order; equal ones are counted together.
        delta: In (0, 1).
        accountant: Who adds up; with ``prv`` the smaller of both bounds.

    Returns:
        At least 0; 0 for no events, infinite where no bound is known.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta {delta} is not between 0 and 1")
    return _epsilon(_composed(events), delta, accountant)


def exceeds(events: Iterable[Event], epsilon: float, delta: float, accountant: Accountant) -> bool:
    """Whether the events cost more than ``epsilon``; quick where the Rényi bound already says no."""
    spent = tuple(events)
    return all(epsilon_of(spent, delta, by) > epsilon for by in dict.fromkeys(("rdp", accountant)))


@lru_cache(maxsize=256)
def noise_multiplier_for(
    target_epsilon: float, delta: float, sample_rate: float, steps: int, accountant: Accountant
) -> float:
    """The noise with which ``steps`` steps cost at most ``target_epsilon``, and hardly less.

    Args:
        target_epsilon: Above 0.
        delta: In (0, 1).
        sample_rate: Probability with which a unit is in a step's batch.
        steps: How many; for none, any noise will do.
        accountant: Who adds up.

    Returns:
        A noise multiplier that costs between 99 and 100 % of the target; ``LEAST_NOISE`` where that alone
        costs less.

    Raises:
        PrivacyUnreachable: Not even ``MOST_NOISE`` is enough.
    """

    def cost(by: Accountant) -> Epsilon:
        return lambda noise: epsilon_of([Event(noise, sample_rate, steps)], delta, by)

    found = _least_noise(cost("rdp"), target_epsilon, 1.0)
    if accountant != "rdp":
        found = _least_noise(cost(accountant), target_epsilon, found or MOST_NOISE)
    if found is None:
        raise PrivacyUnreachable(
            f"epsilon {target_epsilon:g} at delta {delta:.2g} over {steps} steps of rate {sample_rate:g} "
            f"needs a noise multiplier above {MOST_NOISE:g}"
        )
    return found


def _least_noise(cost: Epsilon, target: float, start: float) -> float | None:
    """Noise that costs the target or up to ``TOLERANCE`` less, looked for from ``start``; None if none is."""
    low = high = (start, cost(start))
    stride = 1.2
    while high[1] > target:
        if high[0] >= MOST_NOISE:
            return None
        noise = min(high[0] * stride, MOST_NOISE)
        low, high, stride = high, (noise, cost(noise)), stride**2
    while low[1] <= target:
        if low[0] <= LEAST_NOISE:
            return LEAST_NOISE
        noise = max(low[0] / stride, LEAST_NOISE)
        low, high, stride = (noise, cost(noise)), low, stride**2
    return _narrowed(cost, target, low, high)


def _narrowed(cost: Epsilon, target: float, low: tuple[float, float], high: tuple[float, float]) -> float:
    """The noise in a bracket of ``(noise, epsilon)`` that :func:`_least_noise` looks for.

    The logarithms of noise and of epsilon lie nearly on a line. So their false position is tried by turns
    with the middle, which shrinks the bracket whatever the curve.
    """
    for turn in count():
        # Where delta alone allows nearly everything, epsilon falls to 0 at once.
        if high[1] >= target * (1 - TOLERANCE) or high[0] < low[0] * (1 + TOLERANCE / 10):
            break
        share = 0.5 if turn % 2 else _false_position(low[1], high[1], target * (1 - TOLERANCE / 2))
        noise = low[0] * (high[0] / low[0]) ** share
        middle = (noise, cost(noise))
        low, high = (middle, high) if middle[1] > target else (low, middle)
    return high[0]


def _false_position(above: float, below: float, aim: float) -> float:
    """Where from 0 (``above``) to 1 (``below``) the line through the logarithms takes the value ``aim``."""
    if not 0 < below < above < math.inf:
        return 0.5
    share = math.log(above / aim) / math.log(above / below)
    return min(max(share, 0.05), 0.95)


def _composed(events: Iterable[Event]) -> tuple[Event, ...]:
    """The same cost in the fewest events: releases about all units are one Gaussian release.

    ``k`` of them with noise ``z`` are one with ``z / sqrt(k)`` (Dong et al. 2022, Cor. 3.3).
    """
    kept = merged(event for event in events if event.sample_rate > 0)
    sampled = tuple(event for event in kept if event.sample_rate < 1)
    whole = [event for event in kept if event.sample_rate >= 1]
    if not whole:
        return sampled
    if min(event.noise_multiplier for event in whole) <= 0:
        return (Event(0.0, 1.0, 1),)
    signal = math.hypot(*(math.sqrt(event.steps) / event.noise_multiplier for event in whole))
    return (*sampled, Event(1 / signal, 1.0, 1))


@lru_cache(maxsize=1024)
def _epsilon(events: tuple[Event, ...], delta: float, accountant: Accountant) -> float:
    if not events:
        return 0.0
    if min(event.noise_multiplier for event in events) <= 0:
        return math.inf
    epsilon, order = _renyi(events, delta)
    if accountant == "prv" and 0 < epsilon < math.inf:
        epsilon = min(epsilon, _numerical(events, delta, epsilon, order))
    return max(epsilon, 0.0)


def _renyi(events: tuple[Event, ...], delta: float) -> tuple[float, float]:
    """The Rényi accountant's epsilon and its best order; infinite where its series fail."""
    from opacus.accountants.analysis.rdp import get_privacy_spent

    with _in_silence():
        losses = sum(event.steps * _curve(event.noise_multiplier, event.sample_rate) for event in events)
        epsilon, order = get_privacy_spent(orders=list(ORDERS), rdp=losses, delta=delta)
    return (math.inf, 1.0) if math.isnan(epsilon) else (float(epsilon), float(order))


@lru_cache(maxsize=1024)
def _curve(noise_multiplier: float, sample_rate: float) -> Vector:
    """Rényi loss of one step at each of ``ORDERS``: steps add up, so each kind of step is looked at once."""
    from opacus.accountants.analysis.rdp import compute_rdp

    try:
        loss = compute_rdp(q=sample_rate, noise_multiplier=noise_multiplier, steps=1, orders=list(ORDERS))
    except (ArithmeticError, ValueError):
        loss = np.full(len(ORDERS), math.inf)
    return np.asarray(loss, dtype=float)


def _numerical(events: tuple[Event, ...], delta: float, bound: float, order: float) -> float:
    """PRV's epsilon, or infinity where it cannot answer.

    Args:
        events: Composed.
        delta: In (0, 1).
        bound: The Rényi epsilon.
        order: The Rényi order that gave it; both tell how far PRV's grid will reach.
    """
    reach = bound + math.log(8000 * _steps(events)) / (order - 1) + 3
    if delta < LEAST_DELTA or len(events) > MOST_KINDS or reach > MOST_LOSS:
        return math.inf
    epsilon = _on_grid(events, delta, GRID_ERROR * bound, reach)
    if LEAST_EPSILON < epsilon < bound / 2:  # the first grid was coarse for what it found
        epsilon = min(epsilon, _on_grid(events, delta, GRID_ERROR * epsilon, reach))
    return epsilon


def _on_grid(events: tuple[Event, ...], delta: float, error: float, reach: float) -> float:
    """PRV's epsilon with ``error`` added by its grid, or more where the grid would have too many points."""
    from opacus.accountants import PRVAccountant

    mesh_per_error = math.sqrt(_steps(events) * math.log(12_000 / delta) / 2)  # Gopi et al. 2021, Thm. 5.5
    least = max(LEAST_ERROR, 2 * reach * mesh_per_error * len(events) / MOST_POINTS)
    if least > MOST_ERROR:
        return math.inf
    error = min(max(error, least), MOST_ERROR)
    accountant = PRVAccountant()
    accountant.history = _history(events)
    try:
        with _in_silence():
            epsilon = float(accountant.get_epsilon(delta, eps_error=error))
    except (ArithmeticError, ValueError, RuntimeError, MemoryError):  # it says so in many ways
        return math.inf
    return epsilon if math.isfinite(epsilon) else math.inf


def _history(events: tuple[Event, ...]) -> list[tuple[float, float, int]]:
    return [(event.noise_multiplier, event.sample_rate, event.steps) for event in events]


def _steps(events: tuple[Event, ...]) -> int:
    return sum(event.steps for event in events)


@contextmanager
def _in_silence() -> Iterator[None]:
    """Opacus warns of orders at the end of their range and of logarithms of 0, both harmless to a bound."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
