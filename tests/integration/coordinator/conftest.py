"""A coordinator in a temporary folder, a clock that is set by hand, and sites that enrol."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from common.audit import AuditLog
from common.identity import Identity, Invitation, identity_of, new_tls_key, site_request
from common.link.envelope import Sealed
from server.link.enrolment import Enrolment
from server.link.home import CoordinatorHome
from server.link.store import LinkStore, Task


class HandClock:
    """What time it is, as the test says."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()

    def turn(self, **passed: float) -> None:
        self.now += timedelta(**passed)


@dataclass(frozen=True, slots=True)
class Member:
    """A site that enrolled, and what it holds."""

    identity: Identity
    key: ec.EllipticCurvePrivateKey
    pem: bytes


@dataclass(frozen=True, slots=True)
class Desk:
    """One coordinator's enrolment, and what a hospital does to pass it."""

    home: CoordinatorHome
    enrolment: Enrolment
    clock: HandClock

    def identity(self, pem: bytes) -> Identity:
        return identity_of(pem, self.home.authority.pem, self.clock())

    def bootstrap(self, invitation: Invitation) -> Identity:
        return self.identity(invitation.bootstrap_certificate.encode())

    def request(self, site: str, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
        return site_request(key or new_tls_key(), self.home.federation, site)

    def enrol(self, invitation: Invitation, peer: str = "ipv4:192.0.2.1:5000") -> Member:
        key = new_tls_key()
        request = self.request(invitation.site, key)
        pem = self.enrolment.enrol(self.bootstrap(invitation), request, invitation.id, peer)
        return Member(self.identity(pem), key, pem)

    def join(self, site: str) -> Member:
        """Invite and enrol, some time after others did."""
        self.clock.turn(minutes=1)
        return self.enrol(self.enrolment.invite(site))

    def events(self, but: str = "coordinator.created") -> list[tuple[str, dict[str, object]]]:
        entries = self.home.audit.entries()
        return [(entry.event, dict(entry.facts)) for entry in entries if entry.event != but]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def create(tmp_path: Path, clock: HandClock) -> Iterator[Callable[..., CoordinatorHome]]:
    """``create("name", passphrase=...)``: a new coordinator in a folder of that name."""
    made: list[CoordinatorHome] = []

    def new(name: str = "coordinator", passphrase: bytes | None = None) -> CoordinatorHome:
        folder = tmp_path / name
        made.append(
            CoordinatorHome.create(
                folder, "127.0.0.1:8443", "127.0.0.1:0", passphrase, name="Trial", now=clock
            )
        )
        return made[-1]

    yield new
    for home in made:
        home.close()


@pytest.fixture
def home(create: Callable[..., CoordinatorHome]) -> CoordinatorHome:
    return create()


@pytest.fixture
def desk(home: CoordinatorHome, clock: HandClock) -> Desk:
    enrolment = Enrolment(
        home.authority,
        home.signing_key,
        home.settings.address,
        home.store.members,
        AuditLog(home.audit.path, clock, strict=True),
        clock,
        clock.seconds,
    )
    return Desk(home, enrolment, clock)


@pytest.fixture
def store(home: CoordinatorHome) -> LinkStore:
    return home.store


@pytest.fixture
def task() -> Callable[..., Task]:
    """``task("id", node)``: a task that says its own id."""

    def new(task_id: str, node_id: int = 1, deadline_ms: int = 1_000, body: bytes = b"") -> Task:
        envelope = Sealed(body or f"do {task_id}".encode(), b"signed")
        return Task(task_id, node_id, "train", "1", deadline_ms, envelope)

    return new
