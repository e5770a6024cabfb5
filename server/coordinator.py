"""The coordinator's daemon: it serves the sites, tells them what is proposed, and runs what was ordered."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable

from common import __version__
from common.chain import Clock, utc_now
from common.contract import code_digest
from common.errors import ConsiliumError
from common.link.envelope import Sealed, Statement
from server.link.home import CoordinatorHome
from server.link.server import LinkServer
from server.proposals import Proposals, RunOrder
from server.record import read_run
from server.report.filing import file_report
from server.status import StatusBoard
from server.study_run import RunPlan, run_study

log = logging.getLogger("consilium.coordinator")

ENGINE = "link"
LOOK_S = 0.5
"""Between two looks at what commands have left in the home."""


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
        self._board = StatusBoard(home.folder, os.getpid(), now)
        self._running: dict[str, threading.Thread] = {}  # studies by name

    def run(self, stop: threading.Event, port: int | None = None) -> None:
        """Serve until ``stop`` is set. A study that runs then is recorded as interrupted.

        Raises:
            PortTaken: The port of the settings is in use.
        """
        bound = self._server.start(port)
        self._note("coordinator.started", version=__version__, port=bound, code_digest=code_digest())
        log.info("listening on port %s for the sites of federation %s", bound, self.home.federation)
        self._told = set(self.proposals.digests())
        try:
            self._board.listening(bound)
            while not stop.wait(LOOK_S):
                self._tell()
                for digest, order in self.proposals.ordered():
                    self.proposals.begun(digest)
                    thread = threading.Thread(target=self._study, args=(digest, order), daemon=True)
                    self._running[self.proposals.contract(digest).name] = thread
                    thread.start()
                self._show()
        finally:
            self._server.stop()
            self._note("coordinator.stopped")
            self._board.stopped()

    def _show(self) -> None:
        """Let whoever asks know who is connected and what runs."""
        running = [name for name, thread in self._running.items() if thread.is_alive()]
        self._board.look([each.site for each in self._server.present()], running)

    def _contracts(self) -> Iterable[Sealed]:
        """What a site is told when it connects: all that still holds."""
        proposals = self.proposals
        return [
            proposals.sealed(digest)
            for digest in proposals.digests()
            if not proposals.contract(digest).expired(self._now())
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

    def _study(self, digest: str, order: RunOrder) -> None:
        """Run a study from its first round to its last."""
        contract = self.proposals.contract(digest)
        plan = RunPlan(
            study=contract.resolved_study(),
            seed=contract.seed,
            out=self.proposals.run_folder(digest),
            engine=ENGINE,
            expect_sites=order.sites,
            gather_timeout_s=order.wait_s,
        )
        self._note("study.started", study=contract.name, contract=digest, rounds=contract.rounds)
        log.info("study %s begins", contract.name)
        code, grid = "", self._server.grid(digest)
        try:
            run_study(grid, plan)
        except ConsiliumError as error:
            code = error.code
        except Exception as defect:  # noqa: BLE001  a thread's edge: the record has the code, the log the type
            code = ConsiliumError.code
            log.error("study %s: %s", contract.name, type(defect).__name__)
        grid.cancel(code or "study-ended")  # nobody waits for what is still worked at
        file_report(plan.out)
        done = len((read_run(plan.out) or {"rounds": []})["rounds"])
        facts = {"code": code} if code else {}
        self._note("study.ended", study=contract.name, contract=digest, rounds=done, **facts)
        log.info("study %s has ended after round %s%s", contract.name, done, f": {code}" if code else "")

    def _note(self, event: str, **facts: str | int) -> None:
        self.home.audit.append(event, **facts)
