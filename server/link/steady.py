"""The time by which deadlines are judged: it goes on as it was when the computer's clock is stepped.

A clock that was wrong is put right in one step, by days at times. A task that has an hour left has it then,
too: neither is it over at once, nor open for a day. Corrections as small as two clocks may differ are
followed, so that in the long run this is the computer's time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from common.link.envelope import MAX_SKEW_MS


class Steady:
    """Milliseconds since 1970, as the clock had it when the process began, without its steps since.

    It is to be called now and then, and threads may share it: a step is what the clock gained or lost between
    two calls against the time that really passed.

    Args:
        now_ms: The computer's clock, in milliseconds since 1970.
        passed_s: Seconds that have passed since some moment; never stepped.
    """

    def __init__(self, now_ms: Callable[[], int], passed_s: Callable[[], float] = time.monotonic) -> None:
        self._now_ms, self._passed_s = now_ms, passed_s
        self._lock = threading.Lock()
        self._last, self._last_s = now_ms(), passed_s()
        self._stepped_ms = 0

    def __call__(self) -> int:
        """The time."""
        with self._lock:
            now, passed_s = self._now_ms(), self._passed_s()
            step = now - self._last - int(1000 * (passed_s - self._last_s))
            if abs(step) > MAX_SKEW_MS:
                self._stepped_ms += step
            self._last, self._last_s = now, passed_s
            return now - self._stepped_ms
