"""An event that tells a daemon's loops to end, and knows by their asking whether they still turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pulse(threading.Event):
    """Set once, for good; each thread that asks it is remembered with the time until which it waits.

    A loop that hangs, and a thread that died, asks no more.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._until: dict[int, float] = {}

    def is_set(self) -> bool:
        """Whether it is time to end."""
        self._until[threading.get_ident()] = self._clock()
        return super().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Whether it is time to end, after waiting for that."""
        self._until[threading.get_ident()] = self._clock() + (
            threading.TIMEOUT_MAX if timeout is None else timeout
        )
        return super().wait(timeout)

    def ended(self) -> bool:
        """The same as :meth:`is_set`, for who only looks on."""
        return super().is_set()

    def is_alive(self, within_s: float) -> bool:
        """Whether every thread that ever asked has done so lately, or waits in it now."""
        oldest = self._clock() - within_s
        return all(until >= oldest for until in tuple(self._until.values()))
