"""Small hospitals in this process, a database of each kind, and a journal that dies when it is told to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from common.study import Study
from server.journal import DurableJournal, Journal
from server.study_run import RunPlan, run_study
from tests.unit.conftest import faults, grid_of, hospitals, make_study, site_of

__all__ = ["faults", "grid_of", "hospitals", "make_study", "site_of"]

WRITES = ("begin", "keep", "refuse", "trained", "count", "finish", "end")


class Killed(BaseException):
    """The process is gone: nothing after this moment happens."""


@dataclass
class MortalJournal:
    """A journal whose process is killed at its nth write, before it or after it."""

    journal: DurableJournal
    dies_at: int = 0
    after: bool = False
    writes: int = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.journal, name)
        return self._mortal(method) if name in WRITES else method

    def _mortal(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def write(*arguments: Any) -> Any:
            self.writes += 1
            if self.writes == self.dies_at and not self.after:
                raise Killed
            result = method(*arguments)
            if self.writes == self.dies_at:
                raise Killed
            return result

        return write


@dataclass(frozen=True)
class Runs:
    """Runs of one small study, each in a folder of its own.

    Attributes:
        folder: Where.
        study: What.
        grid: Makes the hospitals' Grid.
    """

    folder: Path
    study: Study
    grid: Callable[..., Any]

    def plan(self, name: str) -> RunPlan:
        """The plan of a run; what private noise there is, is seeded."""
        return RunPlan(self.study, 0, self.folder / name, "test", 4, 5.0, noise_seed=7)

    def go(self, name: str, grid: Any, *, dies_at: int = 0, after: bool = False) -> MortalJournal:
        """A run, from its beginning or from where it was left."""
        plan = self.plan(name)
        plan.out.mkdir(exist_ok=True)
        with Journal(plan.out / "journal.db") as journal:
            mortal = MortalJournal(journal.run("run", plan.study, plan.seed, plan.out), dies_at, after)
            with suppress(Killed):
                run_study(grid, plan, mortal)
        return mortal

    def of(self, study: Study) -> Runs:
        """The same of another study."""
        return replace(self, study=study)


@pytest.fixture
def runs(tmp_path: Path, make_study: Callable[..., Study], grid_of: Callable[..., Any]) -> Runs:
    """Runs of two rounds with a strategy that remembers earlier ones, and a kept mean of both models."""
    study = make_study(
        federation={"strategy": {"name": "fedadam"}, "rounds": 2, "average_last": 2, "evaluate_every": 1}
    )
    return Runs(tmp_path, study, grid_of)
