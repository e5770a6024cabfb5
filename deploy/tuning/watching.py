"""A journal of a simulation that tells how each round's model does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from common.metrics import EvaluationSums
from server.journal import FleetingJournal
from server.record import sums_of

Watch = Callable[[int, EvaluationSums], None]
"""Told the number of a round, and the counts of all sites together."""


class WatchedJournal(FleetingJournal):
    """Keeps the counts of the last round that was tested: those of each site, and all together.

    Args:
        watch: Told of every round that was tested; what it raises ends the study.
    """

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch
        self.sites: Mapping[str, EvaluationSums] = {}
        self.last: EvaluationSums | None = None

    def finish(self, number: int, entry: Mapping[str, Any]) -> None:
        """See the protocol."""
        counts = sums_of(self.counted(number))
        super().finish(number, entry)
        if counts:
            first, *_ = counts
            self.sites = dict(counts)
            self.last = type(counts[first]).total(counts[site] for site in sorted(counts))
            self._watch(number, self.last)
