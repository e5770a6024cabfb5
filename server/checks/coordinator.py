"""The check of a coordinator: every look in its order, each taken whatever became of the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common.chain import Clock, utc_now
from common.checks import Finding, Section, passed_over, taken
from common.checks.evidence import audit
from common.checks.files import folders
from common.checks.machine import clock, code, disk, model_bytes, releases
from common.errors import ConsiliumError, HomeMissing
from server.checks import federation, own, port
from server.checks.journal import journal
from server.link.home import AUDIT_FILE, SETTINGS_FILE, STUDIES
from server.link.members import InvitationRow, SiteRow
from server.proposals import Proposals
from server.status import CoordinatorStatus

COPIES = 3
"""Of a model that are on the disk besides one reply of each site: as it is sent, checkpoint, final."""

_NO_HOME = "there is no home"
_MISSING = "Make one with `consilium coordinator init`, or name it with --home or CONSILIUM_COORDINATOR."


@dataclass(frozen=True, slots=True)
class CoordinatorCheck:
    """The check of one coordinator.

    Attributes:
        folder: Its home.
        passphrase: Of its keys; without it, encrypted ones are not opened, and everything else is looked at.
        now: The clock.
    """

    folder: Path
    passphrase: bytes | None = None
    now: Clock = utc_now

    def sections(self) -> Iterator[Section]:
        """What was found, a section as soon as it is whole."""
        if not (self.folder / SETTINGS_FILE).is_file():
            missing = HomeMissing(f"{self.folder} holds no {SETTINGS_FILE}", hint=_MISSING)
            yield Section("home", (Finding.failed("home", missing),))
            machine = (*taken("release", releases), *taken("clock", clock))
            yield Section("machine", (*machine, *passed_over(_NO_HOME, "code", "disk")))
            yield Section("address", passed_over(_NO_HOME, "port", "name", "address", "tls"))
            yield Section("federation", passed_over(_NO_HOME, "database", "journal", "studies", "audit log"))
            return
        status, members = CoordinatorStatus.read(self.folder), self._members()
        yield Section("home", self._home())
        yield Section("machine", self._machine(status, members))
        yield Section("address", self._address(status))
        yield Section("federation", self._federation(members))

    def _home(self) -> tuple[Finding, ...]:
        folder, now = self.folder, self.now()
        return (
            Finding("home", str(folder)),
            *taken("settings", partial(own.told_settings, folder)),
            *taken("folders", partial(folders, folder)),
            *taken("keys", partial(own.keys, folder, self.passphrase)),
            *taken("authority", partial(own.authority, folder, now)),
            *taken("certificate", partial(own.certificate, folder, now)),
        )

    def _machine(self, status: CoordinatorStatus, members: _Members) -> tuple[Finding, ...]:
        running = status.code_digest if status.running else ""

        def room() -> Finding:
            contracts = federation.contracts(Proposals(self.folder / STUDIES), self.now())
            largest = max((model_bytes(each.resolved_study()) for each in contracts), default=0)
            return disk(self.folder, COPIES + len(members.sites), largest)

        return (
            *taken("release", releases),
            *taken("code", partial(code, running, "the coordinator's daemon")),
            *taken("disk", room),
            *taken("clock", clock),
        )

    def _address(self, status: CoordinatorStatus) -> tuple[Finding, ...]:
        try:
            settings = own.settings(self.folder)
        except ConsiliumError:
            return passed_over("the settings cannot be read", "port", "name", "address", "tls")
        found = (
            *taken("port", partial(port.listening, settings.listen, status)),
            *taken("name", partial(port.named, settings.address)),
        )
        if not status.running:
            return (*found, *passed_over("the daemon does not run", "address", "tls"))
        return (*found, *taken("address", partial(port.answering, self.folder, settings.address)))

    def _federation(self, members: _Members) -> tuple[Finding, ...]:
        now, proposals = self.now(), Proposals(self.folder / STUDIES)
        if members.error is not None:
            database: tuple[Finding, ...] = (Finding.failed("database", members.error),)
        else:
            found = federation.sites(members.sites, members.invitations, now)
            database = (Finding("database", "it opens"), *taken("sites", lambda: found))
        return (
            *database,
            *self._journal(),
            *taken("studies", lambda: federation.studies(proposals, now)),
            *taken("audit log", partial(audit, self.folder / AUDIT_FILE)),
        )

    def _journal(self) -> tuple[Finding, ...]:
        try:
            settings = own.settings(self.folder)
        except ConsiliumError:
            return passed_over("the settings cannot be read", "journal")
        return taken("journal", partial(journal, self.folder, settings))

    def _members(self) -> _Members:
        try:
            return _Members(*federation.members(self.folder))
        except ConsiliumError as error:
            return _Members([], [], error)


@dataclass(frozen=True, slots=True)
class _Members:
    """What the database says of sites; or why it says nothing."""

    sites: list[SiteRow]
    invitations: list[InvitationRow]
    error: ConsiliumError | None = None
