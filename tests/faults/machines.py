"""A coordinator and two hospitals as processes, each of which may be killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from client.cohorts.home import Home, create_home
from client.consent import Consents
from client.daemon import SiteStatus
from client.link import enrol
from common.chain import utc_now
from common.contract import seal_contract
from common.contract.drafting import draw_up
from common.study import parse_study
from server.coordinator import journal_in
from server.journal import RunState
from server.link.home import CoordinatorHome
from server.proposals import Proposals, RunOrder
from server.record import read_run
from tests.attacks.conftest import free_port
from tests.attacks.federation import until
from tests.attacks.processes import COMMAND, ROOT, family
from tests.unit.cohorts.archives import labels_of, laid, picture, taken

COORDINATOR, SITES, COHORT = "coordinator", ("alder", "birch"), "chest"
CASES, ROUNDS = 12, 6


@dataclass
class Machines:
    """What runs, and what is asked of it.

    Attributes:
        folder: Of all homes.
        homes: Of the hospitals.
    """

    folder: Path
    homes: dict[str, Home]
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Have a daemon run."""
        place = (COORDINATOR, "start") if name == COORDINATOR else ("site", "start", "--device", "cpu")
        arguments = [*COMMAND, *place, "--home", str(self.folder / name)]
        with (self.folder / f"{name}.log").open("ab") as printed:
            self._running[name] = subprocess.Popen(
                arguments,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """End a daemon and its child at once, in the middle of whatever they are at."""
        process = self._running.pop(name)
        processes = list(family(process.pid))
        for each in processes:
            os.kill(each, signal.SIGKILL)
        process.wait()

    def kill_child(self, name: str) -> None:
        """End the process that trains at a site."""
        _, child = family(self._running[name].pid)
        os.kill(child, signal.SIGKILL)

    def stop(self, name: str) -> None:
        """Have a daemon end well."""
        process = self._running.pop(name)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, (self.folder / f"{name}.log").read_text()

    def close(self) -> None:
        """End what runs."""
        for name in list(self._running):
            self.kill(name)

    def begin(self, name: str) -> str:
        """Digest of a study that begins now; all of them are the same but for their names."""
        document = {
            "study": {"name": name, "labels": {"0": "left", "1": "right"}},
            "data": {"min_cases": 2},
            "sequence": {"kind": "rows", "size": 16},
            "model": {"hidden": 8},
            "training": {"local_epochs": 3, "batch_size": 2},
            "federation": {"rounds": ROUNDS, "min_sites": 2, "deadline_s": 120.0},
        }
        now = utc_now()
        with CoordinatorHome.open(self.folder / COORDINATOR) as home:
            contract = draw_up(
                parse_study(document),
                federation=home.federation,
                seed=1,
                issued=now,
                expires=now + timedelta(days=1),
            )
            proposals = Proposals(home.studies)
            proposals.keep(contract, seal_contract(contract, home.signing_key, now))
        for each in self.homes.values():
            until(lambda each=each: contract.digest in Consents(each).known(), "the arrival of a contract")
            Consents(each).approve(contract.digest, COHORT, "Ada", utc_now())
        proposals.order(contract.digest, RunOrder(sites=2))
        return contract.digest

    def state(self, digest: str) -> RunState | None:
        """How a run stands."""
        home = self.folder / COORDINATOR
        with CoordinatorHome.open(home) as opened, journal_in(home, opened.settings) as journal:
            return journal.state(digest)

    def in_round(self, digest: str, number: int) -> None:
        """Wait until a round has begun."""

        def begun() -> bool:
            found = self.state(digest)
            return found is not None and (
                found.finished >= number or bool(found.course and found.course.number >= number)
            )

        until(begun, f"round {number}")

    def outcome(self, digest: str) -> dict[str, Any]:
        """What a run came to, once it has ended."""
        proposals = Proposals(self.folder / COORDINATOR / "studies")
        folder = proposals.run_folder(digest)
        until(lambda: proposals.has_run(digest) and "report" in (read_run(folder) or {})["files"], "the end")
        run = read_run(folder)
        assert run is not None
        return run


@contextmanager
def machines(folder: Path) -> Iterator[Machines]:
    """Enrolled, connected, and gone in the end."""
    address = f"127.0.0.1:{free_port()}"
    home = CoordinatorHome.create(folder / COORDINATOR, address, address)
    made = Machines(folder, {name: _hospital(folder, name) for name in SITES})
    try:
        made.start(COORDINATOR)
        until(lambda: b"listening" in (folder / "coordinator.log").read_bytes(), "the start")
        for name, each in made.homes.items():
            enrol(each.folder / "link", home.enrolment.invite(name), utc_now())
            made.start(name)
        home.close()
        for each in made.homes.values():
            until(lambda each=each: SiteStatus.read(each.folder).link == "connected", "a connection")
        yield made
    finally:
        made.close()


def _hospital(folder: Path, name: str) -> Home:
    home = create_home(folder / name, name)
    patients = [f"{name}-{number}" for number in range(CASES)]
    rows = " ".join(f"{p},{n % 2},{'test' if n > CASES - 4 else 'train'}" for n, p in enumerate(patients))
    pictures = laid(folder / f"{name}-pictures", [picture(patient) for patient in patients])
    taken(home, pictures, name=COHORT, labels=labels_of(folder / f"{name}.csv", rows))
    return home
