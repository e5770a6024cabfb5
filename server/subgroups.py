"""Counts of subgroups of the test cases, and their figures over all sites that tell them.

Counts are kept packed: a study may have thousands of sites, each with a dozen groups.
"""

from __future__ import annotations

from typing import Any

from common.metrics import sums_kind
from common.metrics.subgroups import NOT_KNOWN
from common.study import Study
from common.tasks import Evaluation
from server.journal.counted import Counted
from server.record import MOST_DRAWN, drawn_intervals


class SubgroupCounts:
    """What sites count of the subgroups that a study asks for."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._told: dict[str, dict[str, Counted]] = {kind: {} for kind in study.federation.subgroups}

    def add(self, evaluation: Evaluation) -> None:
        """Take in what one site tells."""
        for kind, groups in evaluation.subgroups.items():
            for name, sums in groups.items():
                about = evaluation.site, evaluation.round, evaluation.base_digest
                self._told[kind].setdefault(name, Counted()).add(Evaluation(*about, sums))

    def figures(self) -> dict[str, dict[str, Any]]:
        """Figures by kind of subgroup and name of the group, as run.json carries them.

        A group's are read off the sum of the counts of all sites that tell it. A kind that no site tells
        anything of is empty.
        """
        return {
            kind: {name: self._of_group(groups[name]) for name in sorted(groups, key=_place)}
            for kind, groups in self._told.items()
        }

    def _of_group(self, told: Counted) -> dict[str, Any]:
        classes = self._study.study.classes
        total = sums_kind(self._study).total(evaluation.sums for evaluation in told.values())
        few = [evaluation.sums for evaluation in told.values()] if len(told) <= MOST_DRAWN else []
        return {**total.figures(classes), **drawn_intervals(few, classes)}


def _place(name: str) -> tuple[bool, str]:
    """What is not known comes last."""
    return name == NOT_KNOWN, name
