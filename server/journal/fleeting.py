"""The course of a run in memory: for simulations, whose updates need not outlive the process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from common.tasks import Evaluation
from common.update import Contribution
from common.weights import Weights
from server.journal.counted import Counted
from server.journal.protocol import Course, Stage

LONGEST_LATE = 100
"""Rounds for which it is remembered whose updates were kept: no study takes later ones."""


class FleetingJournal:
    """A :class:`server.journal.protocol.RunJournal` that nothing is left of."""

    def __init__(self) -> None:
        self._entries: list[dict[str, Any]] = []
        self._course: Course | None = None
        self._kept: dict[str, Contribution] = {}
        self._refused = _nobody()
        self._bases: dict[int, str] = {}
        self._updates: dict[int, set[str]] = {}  # whose were kept, by the round they were trained for
        self._counted = Counted()
        self._memory: Weights = {}
        self._known: Mapping[str, Any] = {}

    def require_mine(self) -> None:
        """See the protocol: no other process knows of it."""

    def finished(self) -> list[dict[str, Any]]:
        """See the protocol."""
        return list(self._entries)

    def course(self) -> Course | None:
        """See the protocol."""
        return self._course

    def begin(self, course: Course) -> None:
        """See the protocol."""
        self._course = course
        self._kept, self._counted = {}, Counted()
        self._refused = _nobody()
        self._bases[course.number] = course.base_digest
        self._bases.pop(course.number - LONGEST_LATE - 1, None)
        self._updates.pop(course.number - LONGEST_LATE - 1, None)

    def base(self, number: int) -> str:
        """See the protocol."""
        return self._bases.get(number, "")

    def keep(self, contribution: Contribution, number: int | None = None) -> Contribution:
        """See the protocol."""
        self._updates.setdefault(contribution.round, set()).add(contribution.site)
        self._kept[contribution.site] = contribution
        self._refused["train"].pop(contribution.site, None)
        return contribution

    def has_update(self, site: str, trained_for: int) -> bool:
        """See the protocol."""
        return site in self._updates.get(trained_for, ())

    def contributed(self, number: int) -> tuple[str, ...]:
        """See the protocol."""
        return tuple(sorted(self._kept))

    def kept(self, number: int) -> dict[str, Contribution]:
        """See the protocol."""
        return {site: self._kept[site] for site in sorted(self._kept)}

    def refuse(self, number: int, stage: Stage, site: str, reason: str) -> None:
        """See the protocol."""
        self._refused[stage][site] = reason

    def refused(self, number: int, stage: Stage) -> dict[str, str]:
        """See the protocol."""
        return dict(self._refused[stage])

    def trained(self, number: int, model_digest: str, about: Mapping[str, Any], memory: Weights) -> None:
        """See the protocol."""
        if self._course is not None:
            self._course = replace(self._course, model_digest=model_digest)
        self._memory, self._known = memory, about

    def known(self) -> Mapping[str, Any]:
        """See the protocol."""
        return self._known

    def memory(self) -> Weights:
        """See the protocol."""
        return self._memory

    def count(self, evaluation: Evaluation) -> None:
        """See the protocol."""
        self._counted.add(evaluation)
        self._refused["evaluate"].pop(evaluation.site, None)

    def counted(self, number: int) -> Mapping[str, Evaluation]:
        """See the protocol."""
        return self._counted

    def readmitted(self) -> list[tuple[int, str]]:
        """See the protocol."""
        return []

    def finish(self, number: int, entry: Mapping[str, Any]) -> None:
        """See the protocol."""
        self._entries.append(dict(entry))
        self._course, self._kept, self._counted = None, {}, Counted()

    def end(self, status: str) -> None:
        """See the protocol."""


def _nobody() -> dict[Stage, dict[str, str]]:
    return {stage: {} for stage in get_args(Stage)}
