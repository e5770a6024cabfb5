"""How far training is, for whoever waits for it: a share between 0 and 1, now and then.

It is a function of the number of steps done alone, so it tells nothing of the cases.
"""

from __future__ import annotations

import time
from collections.abc import Callable

EVERY_S = 5.0


class Progress:
    """Tells a listener, where there is one.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.listener: Callable[[float], None] | None = None
        self._clock, self._next_s = clock, 0.0

    def tell(self, done: float) -> None:
        """Tell how far training is, unless that was told a moment ago."""
        if self.listener is not None and self._clock() >= self._next_s:
            self._next_s = self._clock() + EVERY_S
            self.listener(done)


PROGRESS = Progress()
"""This process's: it trains one task at a time."""
