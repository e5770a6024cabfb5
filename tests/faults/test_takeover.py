"""Two coordinators conduct one run: the second takes it over, the first ends, and nothing counts twice."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from common.errors import ConsiliumError, PortTaken
from server.coordinator import Coordinator
from server.journal import Journal
from server.link.home import CoordinatorHome
from server.study_run import run_study
from tests.faults.conftest import Runs
from tests.faults.link import Studies
from tests.faults.test_coordinator_killed import outcome


class Paused:
    """A run's journal whose process stands still at its nth write, until it is let go on."""

    def __init__(self, journal: Any, write: int) -> None:
        self._journal, self._left = journal, write
        self.stands, self.goes_on = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._journal, name)
        if name not in ("begin", "keep", "trained", "count", "finish", "end"):
            return method

        def write(*given: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                self.stands.set()
                assert self.goes_on.wait(60)
            return method(*given)

        return write


PLACES = {"begin": 1, "keep": 3, "trained": 6, "count": 8, "finish": 11, "end": 23}
"""The writes of a run of two rounds with four hospitals at which the first coordinator is slow."""


@pytest.mark.fault(
    "a second coordinator takes a run over while the first one is at any step of it",
    "the first ends with `journal-taken` and changes nothing any more; the model is bit-equal",
)
@pytest.mark.parametrize("while_second", ["has ended", "has begun"])
@pytest.mark.parametrize("write", PLACES.values(), ids=PLACES)
def test_a_run_that_is_taken_over(runs: Runs, whole: Path, write: int, while_second: str) -> None:
    plan, ended = runs.plan("both"), list[str]()
    plan.out.mkdir()

    def first(journal: Any) -> None:
        try:
            run_study(runs.grid(), plan, journal)
        except ConsiliumError as error:
            ended.append(error.code)

    def begun(database: Journal) -> Any:
        return database.run("run", plan.study, plan.seed, plan.out)

    with Journal(runs.folder / "journal.db") as one, Journal(runs.folder / "journal.db") as other:
        slow = Paused(begun(one), write)
        thread = threading.Thread(target=first, args=(slow,))
        thread.start()
        assert slow.stands.wait(60)
        second = begun(other)
        if while_second == "has begun":
            slow.goes_on.set()
            thread.join(60)
        run_study(runs.grid(), plan, second)
        slow.goes_on.set()
        thread.join(60)
        state = one.state("run")
    assert ended == ["journal-taken"]
    assert model(plan.out) == model(whole)
    assert outcome(plan.out) == outcome(whole)
    assert state is not None and (state.finished, state.ended) == (2, True)
    assert not (plan.out / "rounds").exists(), "the first one has left nothing"


def model(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.fault(
    "a second coordinator is started in the same home during a study",
    "it ends with `port-taken` and touches nothing; the model is bit-equal",
)
def test_a_second_daemon(quick: Studies, undisturbed: str) -> None:
    contract = quick.begin("second-daemon")
    quick.trains("alder")
    with CoordinatorHome.open(quick.federation.home.folder) as again, pytest.raises(PortTaken):
        Coordinator(again).run(threading.Event())
    assert quick.model(contract) == undisturbed
