"""Waking who waits for replies: nobody asks again and again whether one has come."""

from __future__ import annotations

import threading


class Bell:
    """Counts how often it was rung; threads may wait for the next time."""

    def __init__(self) -> None:
        self._rung = threading.Condition()
        self._times = 0

    @property
    def times(self) -> int:
        """How often it was rung until now."""
        return self._times

    def ring(self) -> None:
        """Wake all who wait."""
        with self._rung:
            self._times += 1
            self._rung.notify_all()

    def wait(self, after: int, timeout_s: float) -> bool:
        """Whether it was rung more than ``after`` times, within ``timeout_s`` seconds."""
        with self._rung:
            return self._rung.wait_for(lambda: self._times > after, timeout_s)
