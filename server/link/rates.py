"""How often something may be tried: token buckets, one for each who tries and one for all together.

A bucket holds as many tokens as may be used in a minute and fills up evenly, so that a short burst passes and
a long one does not. Invariant: who has no token left takes none from the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

MINUTE_S = 60.0


@dataclass(slots=True)
class _Bucket:
    limit: int
    tokens: float
    at: float

    def fill(self, now: float) -> None:
        """Add what the time has brought."""
        self.tokens = min(self.limit, self.tokens + (now - self.at) * self.limit / MINUTE_S)
        self.at = now


class RateLimit:
    """How often something may be tried; threads may share it.

    Args:
        each: Tries a minute for one who tries.
        together: Tries a minute for all.
        clock: Seconds that never go back.
    """

    def __init__(self, each: int, together: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._each = each
        self._clock = clock
        self._lock = threading.Lock()
        self._all = _Bucket(together, together, clock())
        self._of: dict[str, _Bucket] = {}

    def take(self, who: str) -> bool:
        """Whether ``who`` may try now; if so, the try counts."""
        with self._lock:
            now = self._clock()
            for bucket in (self._all, *self._of.values()):
                bucket.fill(now)
            # A full bucket is as good as none: what is kept is what was tried in the last minute.
            self._of = {name: bucket for name, bucket in self._of.items() if bucket.tokens < self._each}
            own = self._of.get(who) or _Bucket(self._each, self._each, now)
            if min(own.tokens, self._all.tokens) < 1.0:
                return False
            own.tokens -= 1.0
            self._all.tokens -= 1.0
            self._of[who] = own
            return True
