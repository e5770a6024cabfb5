"""A study that is stopped ends at once, keeps what it has, and says who stopped it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import server.study_run
from common.chain import utc_now
from common.contract import Contract, seal_contract
from common.contract.drafting import draw_up
from common.errors import EngineFailed, StudyStopped, StudyUnknown, WeightsDamaged
from common.evidence.events import objection
from common.study import parse_study
from deploy.cli.app import app
from server.conduct import conduct
from server.coordinator import Coordinator
from server.journal import FleetingJournal
from server.link.home import CoordinatorHome
from server.link.server import LinkServer
from server.proposals import Proposals, RunOrder
from server.record import read_run
from server.study_run import RunPlan

WAIT_S = 10.0


@pytest.fixture
def home(tmp_path: Path) -> Iterator[CoordinatorHome]:
    with CoordinatorHome.create(tmp_path / "coordinator", "127.0.0.1:443", "127.0.0.1:0") as made:
        yield made
        wrong = [objection(entry.event, entry.facts) for entry in made.audit.entries()]
        assert not [each for each in wrong if each is not None]


@pytest.fixture
def contract(home: CoordinatorHome) -> Contract:
    """Of a study that was proposed, and waits for sites that never come."""
    document = {
        "study": {"name": "patience", "labels": {"0": "left", "1": "right"}},
        "sequence": {"kind": "rows", "size": 8},
        "federation": {"rounds": 3, "min_sites": 2},
    }
    now = utc_now()
    drawn = draw_up(
        parse_study(document),
        federation=home.federation,
        seed=0,
        issued=now,
        expires=now + timedelta(days=1),
    )
    Proposals(home.studies).keep(drawn, seal_contract(drawn, home.signing_key, now))
    return drawn


@pytest.fixture
def coordinator(home: CoordinatorHome) -> Iterator[tuple[Coordinator, Callable[[], None]]]:
    """A daemon that serves, and what makes it stop."""
    daemon, stop = Coordinator(home), threading.Event()
    thread = threading.Thread(target=daemon.run, args=(stop, 0))
    thread.start()

    def end() -> None:
        stop.set()
        thread.join(2 * WAIT_S)
        assert not thread.is_alive()

    yield daemon, end
    end()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(home: CoordinatorHome) -> list[tuple[str, object]]:
    told = [entry for entry in home.audit.entries() if entry.event.startswith("study.")]
    return [(entry.event, entry.facts.get("code") or entry.facts.get("by")) for entry in told]


@pytest.mark.parametrize(
    ("why", "status"), [(StudyStopped("by me"), "interrupted"), (EngineFailed("a site died"), "failed")]
)
def test_whoever_asks_through_the_grid_ends_with_the_reason(
    home: CoordinatorHome, contract: Contract, tmp_path: Path, why: StudyStopped | EngineFailed, status: str
) -> None:
    plan = RunPlan(contract.resolved_study(), 0, tmp_path / "run", "link", gather_timeout_s=600)
    with LinkServer(home) as server:
        grid = server.grid(contract.digest)
        threading.Timer(0.2, grid.stop, (why,)).start()
        with pytest.raises(type(why)):
            conduct(grid, home.audit, contract, plan, FleetingJournal())
    run = read_run(plan.out)
    assert run is not None and (run["status"], run["error"]["code"]) == (status, why.code)
    assert ended(home) == [("study.started", None), ("study.ended", why.code)]


def test_a_person_stops_a_study_that_runs(
    home: CoordinatorHome,
    contract: Contract,
    coordinator: tuple[Coordinator, Callable[[], None]],
) -> None:
    proposals = Proposals(home.studies)
    proposals.order(contract.digest, RunOrder())
    until(lambda: read_run(proposals.run_folder(contract.digest)))
    arguments = ["study", "stop", "patience", "--home", str(home.folder), "--by", "Ada", "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and json.loads(done.output)["was_running"]
    until(lambda: ended(home)[-1] == ("study.ended", "study-stopped"))
    assert ended(home)[-2] == ("study.stopped", "Ada")
    run = read_run(proposals.run_folder(contract.digest))
    assert run is not None and run["status"] == "interrupted"
    until(lambda: not proposals.stopping())
    with pytest.raises(StudyUnknown):
        proposals.stop(contract.digest, "Ada")


def test_a_study_that_the_machine_ended_can_be_stopped(
    home: CoordinatorHome,
    contract: Contract,
    coordinator: tuple[Coordinator, Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, spoilt = server.study_run.gather, [WeightsDamaged("a model")]

    def gather(*arguments: Any) -> Any:
        if spoilt:
            raise spoilt.pop()
        return real(*arguments)

    monkeypatch.setattr(server.study_run, "gather", gather)
    proposals = Proposals(home.studies)
    proposals.order(contract.digest, RunOrder())
    until(lambda: ended(home)[-1:] == [("study.ended", "weights-damaged")])
    until(lambda: not coordinator[0]._running[contract.digest][0].is_alive())
    assert proposals.stop(contract.digest, "Ada")
    until(lambda: ended(home)[-1] == ("study.ended", "study-stopped"))
    until(lambda: proposals.has_run(contract.digest))
    assert not coordinator[0]._journal.unended()


def test_a_study_that_runs_ends_with_the_daemon(
    home: CoordinatorHome, contract: Contract, coordinator: tuple[Coordinator, Callable[[], None]]
) -> None:
    proposals = Proposals(home.studies)
    proposals.order(contract.digest, RunOrder())
    until(lambda: read_run(proposals.run_folder(contract.digest)))
    coordinator[1]()
    run = read_run(proposals.run_folder(contract.digest))
    assert run is not None and run["status"] == "interrupted"
    assert "daemon was stopped" in run["error"]["message"]


def test_a_study_that_was_to_start_does_not(home: CoordinatorHome, contract: Contract) -> None:
    proposals = Proposals(home.studies)
    proposals.order(contract.digest, RunOrder())
    assert not proposals.stop(contract.digest, "Ada")
    assert proposals.ordered() == () and proposals.stopping() == ()
