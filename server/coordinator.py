"""The coordinator's daemon: it serves the sites, tells them what is proposed, and runs what was ordered."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from common import __version__
from common.chain import Clock, utc_now
from common.contract import code_digest
from common.errors import (
    ConsiliumError,
    CoordinatorStopped,
    DatabaseUnavailable,
    DiskFull,
    JournalTaken,
    OutputUnwritable,
    StudyStopped,
)
from common.evidence.settings import SettingsWitness
from common.link.envelope import Sealed, Statement
from server.conduct import conduct
from server.journal import Journal
from server.link.grid import LinkGrid
from server.link.home import SETTINGS_FILE, CoordinatorHome
from server.link.server import LinkServer
from server.link.settings import CoordinatorSettings
from server.proposals import Proposals, RunOrder
from server.report.filing import file_report
from server.status import StatusBoard
from server.study_run import RunPlan

log = logging.getLogger("consilium.coordinator")

ENGINE, JOURNAL = "link", "journal.db"
LOOK_S = 0.5
"""Between two looks at what commands have left in the home."""

PAUSE_S = 5.0
"""Before a study goes on that the disk had no room for, or whose database did not answer."""

PASSING = (DiskFull, OutputUnwritable, DatabaseUnavailable)
"""What a study waits for the end of; sites that are asked meanwhile keep their answers."""

LET_END_S = 10.0
"""How long a study that is stopped with the daemon may take to write down how far it came."""


def journal_in(folder: Path, settings: CoordinatorSettings) -> Journal:
    """The journal of the coordinator whose home this is.

    Raises:
        HomeInvalid, DiskFull, OutputUnwritable, DatabaseUnavailable: See :class:`server.journal.Journal`.
    """
    return Journal(settings.journal or folder / JOURNAL)


class Coordinator:
    """Serves a federation until it is told to stop.

    Args:
        home: The coordinator's home; it stays open.
        now: The clock.
    """

    def __init__(self, home: CoordinatorHome, now: Clock = utc_now) -> None:
        self.home = home
        self.proposals = Proposals(home.studies)
        self._now = now
        self._server = LinkServer(home, contracts=self._contracts, consents=self._decided, now=now)
        self._told: set[str] = set()
        self._journal = journal_in(home.folder, home.settings)
        self._board = StatusBoard(home.folder, os.getpid(), now)
        self._running: dict[str, tuple[threading.Thread, LinkGrid]] = {}
        self._ending = threading.Event()

    def run(self, stop: threading.Event, port: int | None = None) -> None:
        """Serve until ``stop`` is set. A study that runs then goes on in the same round at the next start.

        Raises:
            PortTaken: The port of the settings is in use.
        """
        bound = self._server.start(port)
        settings = SettingsWitness(self.home.audit, self.home.folder, (SETTINGS_FILE,))
        settings.look()
        self._note("coordinator.started", version=__version__, port=bound, code_digest=code_digest())
        log.info("listening on port %s for the sites of federation %s", bound, self.home.federation)
        self._told = set(self.proposals.digests())
        try:
            self._board.listening(bound)
            self._go_on()
            while not stop.wait(LOOK_S):
                self._look(settings)
                self._tell()
                self._obey()
                self._show()
        finally:
            self._end_studies()
            self._server.stop()
            self._journal.close()
            self._note("coordinator.stopped")
            self._board.stopped()

    def _look(self, settings: SettingsWitness) -> None:
        try:
            settings.look()
        except ConsiliumError as error:  # sites are served all the same; the next look may find it mended
            log.error("the audit log cannot be written: %s: %s", error.code, error.hint)

    def _obey(self) -> None:
        """Begin the studies that are to run, and stop those that are to stop."""
        for digest, order in self.proposals.ordered():
            if digest not in self._running:
                self._begin(digest, order)
        for digest, by in self.proposals.stopping():
            try:
                self._stop(digest, by)
            except ConsiliumError as error:  # it is looked at again in a moment
                log.error("a study cannot be stopped: %s: %s", error.code, error.hint)

    def _show(self) -> None:
        """Let whoever asks know who is connected and what runs."""
        running = [
            self.proposals.contract(digest).name
            for digest, (thread, _) in self._running.items()
            if thread.is_alive()
        ]
        self._board.look([each.site for each in self._server.present()], running)

    def _contracts(self) -> Iterable[Sealed]:
        """What a site is told when it connects: all that still holds and has not had its run."""
        proposals = self.proposals
        return [
            proposals.sealed(digest)
            for digest in proposals.digests()
            if not proposals.contract(digest).expired(self._now()) and not proposals.has_run(digest)
        ]

    def _tell(self) -> None:
        """Tell the sites that are connected of contracts that are new."""
        for digest in self.proposals.digests():
            if digest not in self._told:
                self._told.add(digest)
                self._server.propose(self.proposals.sealed(digest))

    def _decided(self, site: str, sealed: Sealed, statement: Statement) -> None:
        decision = str(statement.content["decision"])
        if self.proposals.decisions(statement.contract).get(site) != decision:
            log.info("%s: %s of %s", site, decision, statement.contract[:12])
        self.proposals.decide(statement.contract, site, decision)

    def _begin(self, digest: str, order: RunOrder) -> LinkGrid:
        grid = self._server.grid(digest)
        thread = threading.Thread(target=self._study, args=(digest, order, grid), name="study", daemon=True)
        self._running[digest] = thread, grid
        thread.start()
        return grid

    def _stop(self, digest: str, by: str) -> None:
        grid = None if self.proposals.has_run(digest) else self._grid_of(digest)
        if grid is not None:
            self._note("study.stopped", study=self.proposals.contract(digest).name, contract=digest, by=by)
            grid.stop(StudyStopped(f"{by} stopped it"))
        self.proposals.stopped(digest)

    def _grid_of(self, digest: str) -> LinkGrid | None:
        """What a study asks through; one that a fault of the machine ended goes on, to be stopped."""
        thread, grid = self._running.get(digest, (None, None))
        if thread is not None and thread.is_alive():
            return grid
        about = self._journal.unended().get(digest)
        return None if about is None else self._begin(digest, RunOrder(**about))

    def _end_studies(self) -> None:
        self._ending.set()
        for thread, grid in self._running.values():
            if thread.is_alive():
                grid.stop(CoordinatorStopped())
                thread.join(LET_END_S)

    def _go_on(self) -> None:
        """Go on with the runs that an earlier process left, each in the round that it was in."""
        ours = set(self.proposals.digests())  # several coordinators may share a database
        for digest, about in self._journal.unended().items():
            if digest in ours:
                self._begin(digest, RunOrder(**about))

    def _study(self, digest: str, order: RunOrder, grid: LinkGrid) -> None:
        """Run a study from its first round to its last, however often it must wait for the machine."""
        try:
            while not self._conducted(digest, order, grid) or not self._filed(digest):
                if self._ending.wait(PAUSE_S):
                    return
        except JournalTaken as error:  # what it wrote since is not ours to report
            log.error("study %s is left to another coordinator: %s", digest[:12], error.hint)

    def _conducted(self, digest: str, order: RunOrder, grid: LinkGrid) -> bool:
        """Run a study as far as it goes; whether that is all. If not, it is to be tried again."""
        if self.proposals.has_run(digest):
            return True
        try:
            self._conduct(digest, order, grid)
        except PASSING as error:
            log.error("study %s waits: %s: %s", digest[:12], error.code, error.hint)
            return False
        except JournalTaken:
            raise
        except ConsiliumError as error:
            log.info("study %s has ended: %s: %s", digest[:12], error.code, error.hint)
        except Exception as defect:  # noqa: BLE001  a thread's edge: the record has the code, the log the type
            log.error("study %s: %s", digest[:12], type(defect).__name__)
        return True

    def _filed(self, digest: str) -> bool:
        """Whether the report of a study is written, and nothing left to be done for it."""
        try:
            file_report(self.proposals.run_folder(digest))
            # Not before: an order that is gone must have been journalled, or have come to nothing.
            self.proposals.begun(digest)
        except PASSING as error:
            log.error("the report of %s waits: %s: %s", digest[:12], error.code, error.hint)
            return False
        return True

    def _conduct(self, digest: str, order: RunOrder, grid: LinkGrid) -> None:
        contract = self.proposals.contract(digest)
        plan = RunPlan(
            study=contract.resolved_study(),
            seed=contract.seed,
            out=self.proposals.run_folder(digest),
            engine=ENGINE,
            expect_sites=order.sites,
            gather_timeout_s=order.wait_s,
            patience_s=math.inf,  # hospitals come back; a person can stop the study
        )
        journal = self._journal.run(digest, plan.study, plan.seed, plan.out, asdict(order))
        self.proposals.begun(digest)
        log.info("study %s begins", contract.name)
        conduct(grid, self.home.audit, contract, plan, journal)
        log.info("study %s is completed", contract.name)

    def _note(self, event: str, **facts: str | int) -> None:
        self.home.audit.append(event, **facts)
