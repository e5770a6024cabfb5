"""Small hospitals in this process, a database of each kind, and a journal that dies when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

# First: gRPC reads while it loads what a link's module sets.
from tests.faults.link import Studies, scaled, studies  # isort: skip

from client.site import Site
from common.study import Study
from server.journal import DurableJournal, Journal
from server.study_run import RunPlan, run_study
from tests.faults.injector.messages import remembered
from tests.faults.table import OPTION, Reporter
from tests.unit import conftest as small_hospitals
from tests.unit.conftest import faults, grid_of, hospitals, make_study, site_of

__all__ = ["faults", "grid_of", "hospitals", "make_study", "site_of"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--reliability PAGE``: see :mod:`tests.faults.table`."""
    parser.addoption(OPTION, default=None, metavar="PAGE", help="write the table of faults there")


def pytest_configure(config: pytest.Config) -> None:
    """Have the cases reported, unless another process of this run does: that one is asked for its workers."""
    # Not as a hook of this file: some of the cases are in other folders.
    page = None if hasattr(config, "workerinput") else config.getoption(OPTION, default=None)
    config.pluginmanager.register(Reporter(Path(page) if page else None), "reliability")


SITES = ("alder", "birch", "cedar", "dogwood")
WRITES = ("begin", "keep", "refuse", "trained", "count", "finish", "end")
TWO_ROUNDS: dict[str, Any] = {
    "federation": {"strategy": {"name": "fedadam"}, "rounds": 2, "average_last": 2, "evaluate_every": 1}
}


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
    return Runs(tmp_path, make_study(**TWO_ROUNDS), grid_of)


@pytest.fixture(scope="module")
def whole(
    remembering: None, tmp_path_factory: pytest.TempPathFactory, make_study: Any, site_of: Callable[..., Any]
) -> Path:
    """What such a run leaves that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    sites = [site_of(name) for name in small_hospitals.SITES]
    runs = Runs(folder, make_study(**TWO_ROUNDS), lambda: small_hospitals.FaultyGrid(sites))
    runs.go("whole", runs.grid())
    return folder / "whole"


@pytest.fixture
def sites(site_of: Callable[..., Site], tmp_path: Path) -> Callable[[str], list[Site]]:
    """Four hospitals that keep what outlives a task, and a ledger, in a folder of this name."""

    def make(name: str) -> list[Site]:
        folder = tmp_path / f"sites-{name}"
        folder.mkdir(exist_ok=True)
        return [
            site_of(each, state=str(folder / each), ledger=str(folder / f"{each}.jsonl"), noise_seed=1)
            for each in SITES
        ]

    return make


@pytest.fixture(scope="module")
def remembering() -> Iterator[None]:
    """Hospitals that work at each question once, for all cases of a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_hospitals, "app", remembered(small_hospitals.app))
        yield


@pytest.fixture(scope="package")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studies]:
    """Two hospitals whose link gives connections up ``SCALE`` times sooner than the real one."""
    with scaled(), studies(tmp_path_factory.mktemp("quick"), "alder", "birch") as made:
        yield made


@pytest.fixture(scope="package")
def undisturbed(quick: Studies) -> str:
    """Digest of the model that comes out where nothing happens."""
    return quick.model(quick.begin("undisturbed"))
