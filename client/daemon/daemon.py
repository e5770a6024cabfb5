"""One process at the hospital: the link outwards, the child that trains, and between them what was agreed."""

from __future__ import annotations

import logging
import os
import threading
from uuid import uuid4

from client.checkpoints import study_folder, tidy
from client.cohorts.home import POLICY_FILE, SITE_FILE, Home
from client.consent import Approved, Consents
from client.daemon.desk import Desk, Place
from client.daemon.status import StatusBoard
from client.executor import Executor
from client.link import Greeting, LinkClient, LinkState, OfferedTask, SiteIdentity, link_client
from client.site import Site
from common import __version__
from common.audit import Fact
from common.chain import Clock, utc_now
from common.contract import code_digest
from common.errors import ConsiliumError, ContractInvalid, NotEnrolled
from common.evidence.settings import SettingsWitness
from common.link.blobs import BlobStore
from common.link.envelope import COORDINATOR, Sealed, Statement, seal

log = logging.getLogger("consilium.site")

FOLDER = "link"
OVER = ("rejected", "withdrawn", "expired")
"""How a contract stands that no task will be run for."""

LOOK_S = 1.0
"""Between two looks at what people decided."""

LIMIT_BYTES = 8 * 2**30
"""Room for the weights of one task's reply, before they are in the outbox."""


class SiteDaemon:
    """Answers the coordinator's tasks as far as the hospital agreed to them.

    Args:
        home: The site's home; the site is enrolled.
        device: ``auto``, ``cpu`` or ``cuda:N``.
        passphrase: Of the site's key, if it has one.
        place: Where the cases of an approved study are, if not in the cohort of this home.
        now: The clock.
    """

    def __init__(
        self,
        home: Home,
        *,
        device: str = "auto",
        passphrase: bytes | None = None,
        place: Place | None = None,
        now: Clock = utc_now,
    ) -> None:
        self._home, self._device, self._passphrase, self._now = home, device, passphrase, now
        self._place = place or self._cohort
        self._consents = Consents(home, now)
        self._board = StatusBoard(home.folder, os.getpid(), now)
        self._state = home.folder / FOLDER / "state"
        self._told: dict[str, str] = {}  # how each contract stood when the coordinator was last told
        self._link_told: tuple[LinkState, str] | None = None  # how the link stood when the log was last told
        self._desk: Desk | None = None
        self._link: LinkClient | None = None

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set; a task that runs then is left to the next start.

        Raises:
            NotEnrolled, SiteRevoked, HomeBusy, ConsiliumError: See :func:`client.link.link_client`.
        """
        folder = self._home.folder / FOLDER
        greeting = Greeting(__version__, code_digest())
        with link_client(
            folder, self, greeting=greeting, passphrase=self._passphrase, now=self._now
        ) as self._link:
            self._board.link("connecting", None)
            executor = Executor(folder / "blobs", folder / "made", LIMIT_BYTES)
            self._desk = self._made_desk(executor, self._link)
            worker = threading.Thread(target=self._desk.work, name="tasks", daemon=True)
            worker.start()
            settings = SettingsWitness(self._home.audit_log, self._home.folder, (SITE_FILE, POLICY_FILE))
            settings.look()
            self._tidy()
            self._home.audit("site.started", version=__version__, code_digest=greeting.code_digest)
            telling = threading.Thread(
                target=self._tell_decisions, args=(stop, settings), name="decisions", daemon=True
            )
            telling.start()
            try:
                executor.start()
                self._link.run(stop)
            finally:
                stop.set()
                telling.join()
                self._desk.close()
                executor.close()
                worker.join()
                self._home.audit("site.stopped")
                self._board.stopped()

    def _made_desk(self, executor: Executor, link: LinkClient) -> Desk:
        return Desk(
            self._home,
            self._identity,
            self._consents,
            executor,
            link.outbox,
            BlobStore(self._home.folder / FOLDER / "made", LIMIT_BYTES, durable=False),
            self._board,
            place=self._place,
            now=self._now,
            progress=link.progress,
        )

    def _tidy(self) -> None:
        """Let go of what outlived tasks that nobody will ask for again."""
        try:
            tidy(self._state, self._over(), self._now().timestamp())
        except (ConsiliumError, OSError) as error:  # it costs room, and nothing else
            code = error.code if isinstance(error, ConsiliumError) else type(error).__name__
            log.warning("what outlived earlier tasks cannot be tidied: %s", code)

    def _over(self) -> set[str]:
        """The studies that may not run any more, and that no other contract lets run."""
        studies: dict[bool, set[str]] = {True: set(), False: set()}
        for digest in self._consents.known():
            try:
                study = study_folder(self._consents.contract(digest).study)
            except ContractInvalid:  # this release cannot read it: what belongs to it grows old and goes
                continue
            studies[self._consents.state(digest, self._now()).status in OVER].add(study)
        return studies[True] - studies[False]

    def _tell_decisions(self, stop: threading.Event, settings: SettingsWitness) -> None:
        """Let the coordinator know how each contract stands, whoever decided and in whatever process."""
        while not stop.wait(LOOK_S):
            try:
                settings.look()
            except ConsiliumError as error:  # the log cannot be written; the next look may find it mended
                log.error("the audit log cannot be written: %s: %s", error.code, error.hint)
            if self._link is None or self._board.status.link != "connected":
                self._told.clear()
                continue
            try:
                standing = {d: self._consents.state(d, self._now()).status for d in self._consents.known()}
            except ConsiliumError as error:  # no task runs either; the next look may find it mended
                log.error("decisions cannot be read: %s: %s", error.code, error.hint)
                continue
            except Exception as defect:  # noqa: BLE001  the thread's edge: decisions are told for ever
                log.error("decisions cannot be read: internal: %s", type(defect).__name__)
                continue
            for digest, status in standing.items():
                if self._told.get(digest) != status:
                    self._told[digest] = status
                    self._link.consent(self._decision(digest, status))

    def _decision(self, digest: str, status: str) -> Sealed:
        identity = self._identity()
        statement = Statement(
            kind="consent",
            federation=identity.federation,
            sender=identity.name,
            recipient=COORDINATOR,
            id=uuid4().hex,
            about=digest,
            issued=int(self._now().timestamp() * 1000),
            contract=digest,
            content={"decision": status},
        )
        return seal(statement, identity.key)

    def _cohort(self, approved: Approved) -> Site:
        name, home = self._identity().name, str(self._home.folder)
        state = str(self._state)
        return Site(name, home=home, cohort=approved.cohort, device=self._device, state=state)

    def _identity(self) -> SiteIdentity:
        if self._link is None:
            raise NotEnrolled("the daemon does not run")
        return self._link.identity  # it changes when the certificate is renewed

    # What the link asks for

    def offer(self, task: OfferedTask) -> None:
        """Take a task."""
        if self._desk is not None:
            self._desk.take(task)

    def cancel(self, task_id: str, reason: str) -> None:
        """Give up a task."""
        if self._desk is not None:
            self._desk.cancel(task_id)

    def contract(self, sealed: Sealed) -> None:
        """Keep a contract that was proposed, for people to decide on."""
        link = self._link
        if link is None:
            return
        key, federation = link.identity.coordinator, link.identity.federation
        try:
            contract = self._consents.receive(sealed, key, federation, self._now())
        except ConsiliumError as error:
            self._home.audit("study.refused", code=error.code)
            log.warning("a contract was refused: %s", error.code)
            return
        log.info("study %s is proposed: `consilium site studies`", contract.name)

    def state(self, state: LinkState, error: ConsiliumError | None) -> None:
        """Show how the link stands."""
        before = self._board.status
        self._board.link(state, error)
        after = self._board.status  # which stays what it was while the same is tried again
        self._note_link(state, error.code if error else "")
        if (after.link, after.problem) != (before.link, before.problem):
            log.info("link: %s%s", state, f" ({error.code}: {error.hint})" if error else "")

    def _note_link(self, state: LinkState, code: str) -> None:
        """Record when the link stands, ends or is refused: once, however often it is tried again."""
        if state == "connecting" or (state, code) == self._link_told:
            return
        self._link_told = state, code
        self._note(f"link.{state}", **({"code": code} if code else {}))

    def _note(self, event: str, **facts: Fact) -> None:
        """Tell the audit log what the link's threads must not fail for."""
        try:
            self._home.audit(event, **facts)
        except ConsiliumError as error:  # where the log cannot be written, no task runs either
            log.error("the audit log cannot be written: %s: %s", error.code, error.hint)

    def acknowledged(self, task: str, digest: str) -> None:
        """Record that the coordinator has what was sent."""
        self._note("release.acknowledged", task=task, digest=digest)

    def refused(self, error: ConsiliumError, about: str) -> None:
        """Record what was not handed on."""
        self._home.audit("message.refused", code=error.code, kind=about[:32])
        log.warning("a message was refused: %s", error.code)
