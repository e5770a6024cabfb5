"""How long the link waits for what, and how long it stays away after a failure."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations of the link, in seconds.

    Attributes:
        first_s: Ceiling of the wait after the first failure; each further one doubles it.
        longest_s: What it never passes.
        shortest_s: What no wait is below, however the dice fall.
        healthy_s: A connection that lived so long was a good one: the next failure counts as the first.
        slow_s: Ceiling of the wait after a refusal that only people can do something about.
        answer_s: How long a first word or the answer to a small call may take.
        heartbeat_s: Between two signs of life.
        resend_s: After which a reply without acknowledgement is sent again.
        renewal_s: Between two looks at whether the certificate is due, and two attempts to renew it.
    """

    first_s: float = 0.5
    longest_s: float = 60.0
    shortest_s: float = 0.05
    healthy_s: float = 60.0
    slow_s: float = 30.0
    answer_s: float = 20.0
    heartbeat_s: float = 10.0
    resend_s: float = 60.0
    renewal_s: float = 600.0


class Backoff:
    """How long to stay away, so that a coordinator which comes back is not met by everybody at once.

    Full jitter: the wait is uniform between nothing and a ceiling that doubles with each failure (Brooker
    2015, "Exponential Backoff and Jitter", AWS Architecture Blog).

    Args:
        timing: The durations.
        dice: Where chance comes from.
    """

    def __init__(self, timing: Timing, dice: random.Random) -> None:
        self._timing = timing
        self._dice = dice
        self._failures = 0

    def after(self, lived_s: float) -> float:
        """Seconds to wait after a connection that lived so long, 0 for one that never stood."""
        if lived_s >= self._timing.healthy_s:
            self._failures = 0
        # The exponent is bounded: failures are counted for ever, and 2.0**1024 is no number.
        ceiling = min(self._timing.longest_s, self._timing.first_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return self._jittered(ceiling)

    def slow(self) -> float:
        """Seconds to wait after a refusal that stands until somebody does something: never less than half."""
        half = self._timing.slow_s / 2
        return half + self._jittered(half)

    def _jittered(self, ceiling: float) -> float:
        return max(self._timing.shortest_s, self._dice.uniform(0.0, ceiling))
