"""What private training spends: uses of the sampled Gaussian mechanism, the accountants' one currency.

This module imports no torch, so that a ledger can be read without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """``steps`` releases of a sum of clipped gradients of Poisson-sampled units, each with Gaussian noise.

    Neighbouring datasets differ by the presence of one unit (add or remove one).

    Attributes:
        noise_multiplier: Standard deviation of the noise as a multiple of the clip norm.
        sample_rate: Probability with which a unit is in a step's batch, in (0, 1].
        steps: How many releases, at least 0. Batches that came out empty are counted too.
    """

    noise_multiplier: float
    sample_rate: float
    steps: int


def merged(events: Iterable[Event]) -> tuple[Event, ...]:
    """The same spending with one event for each noise and rate; composition does not depend on order."""
    steps: dict[tuple[float, float], int] = {}
    for event in events:
        key = (event.noise_multiplier, event.sample_rate)
        steps[key] = steps.get(key, 0) + event.steps
    return tuple(Event(noise, rate, count) for (noise, rate), count in sorted(steps.items()) if count)
