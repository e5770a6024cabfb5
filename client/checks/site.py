"""The check of a site: every look in its order, each taken whatever became of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from client.checks import data, own, training, way
from client.cohorts.home import Home, open_home
from client.consent import Consents
from client.daemon.status import SiteStatus
from client.link.identity import SiteIdentity
from common.board import is_held
from common.chain import Clock, utc_now
from common.checks import Finding, Section, passed_over, taken
from common.checks.evidence import audit
from common.checks.files import folders
from common.checks.machine import code, releases, shared_memory
from common.errors import ConsiliumError

_NO_HOME = "there is no home"


@dataclass(frozen=True, slots=True)
class SiteCheck:
    """The check of one site.

    Attributes:
        folder: Its home, as it was given.
        device: What it is to train on: ``auto``, ``cpu`` or ``cuda:N``.
        passphrase: Of its key, if it has one.
        now: The clock.
    """

    folder: Path | None
    device: str = "auto"
    passphrase: bytes | None = None
    now: Clock = utc_now

    def sections(self) -> Iterator[Section]:
        """What was found, a section as soon as it is whole."""
        try:
            home = open_home(self.folder)
        except ConsiliumError as error:
            yield from self._without_home(Finding.failed("home", error))
            return
        status, identity = SiteStatus.read(home.folder), list[SiteIdentity]()
        yield Section("home", self._home(home, identity))
        yield Section("machine", self._machine(home, status))
        yield Section("data", self._data(home))
        yield Section("coordinator", self._coordinator(home, status, identity))

    def _without_home(self, missing: Finding) -> Iterator[Section]:
        yield Section("home", (missing, *passed_over(_NO_HOME, "policy", "folders", "keys", "enrolled")))
        machine = (*self._anywhere(), *passed_over(_NO_HOME, "code", "disk"))
        yield Section("machine", machine)
        yield Section("data", passed_over(_NO_HOME, "cohort", "studies", "budget", "audit log"))
        yield Section("coordinator", passed_over(_NO_HOME, "name", "port", "tls", "session"))

    def _home(self, home: Home, identity: list[SiteIdentity]) -> tuple[Finding, ...]:
        def enrolled() -> Finding:
            identity.append(own.identity_at(home.folder / own.LINK, self.now(), self.passphrase))
            return own.validity(identity[0], self.now())

        return (
            Finding("home", str(home.folder)),
            *taken("policy", partial(own.settings, home)),
            *taken("folders", partial(folders, home.folder)),
            *taken("keys", partial(own.keys, home)),
            *taken("enrolled", enrolled),
        )

    def _anywhere(self) -> tuple[Finding, ...]:
        looks: tuple[tuple[str, Callable[[], Finding]], ...] = (
            ("release", releases),
            ("shared memory", shared_memory),
            ("gpu", partial(training.device, self.device)),
        )
        return tuple(finding for step, look in looks for finding in taken(step, look))

    def _machine(self, home: Home, status: SiteStatus) -> tuple[Finding, ...]:
        consents = Consents(home, self.now)

        def room() -> Finding:
            return training.room(home.folder, training.open_contracts(consents, self.now()))

        running = status.code_digest if status.running else ""
        own_code = partial(code, running, "the site's daemon")
        return (*self._anywhere(), *taken("code", own_code), *taken("disk", room))

    def _data(self, home: Home) -> tuple[Finding, ...]:
        consents = Consents(home, self.now)
        known = list[data.Study]()

        def studies() -> Iterator[Finding]:
            known.extend(data.studies(consents, self.now()))
            return data.agreed(consents, tuple(known))

        agreed = taken("studies", studies)
        approved = (each.standing for each in known if each.standing.status == "approved")
        in_use = frozenset(standing.cohort for standing in approved)
        return (
            *taken("cohort", lambda: data.cohorts(data.overviews(home), in_use)),
            *agreed,
            *taken("budget", lambda: data.budgets(home)),
            *taken("audit log", partial(audit, home.audit_log.path)),
        )

    def _coordinator(self, home: Home, status: SiteStatus, known: list[SiteIdentity]) -> tuple[Finding, ...]:
        if not known:
            return passed_over("the site's identity cannot be read", "name", "port", "tls", "session")
        identity = known[0]
        found = way.way(identity, self.now)
        is_taken = is_held(home.folder / own.LINK / own.LOCK)
        is_reached = all(finding.ok for finding in found)
        return (*found, *way.session(identity, status, is_taken, is_reached, self.now))
