"""A coordinator and two hospitals as they run, what attackers need, and what must be true afterwards.

Both hospitals are daemons of their own with a process that trains, in threads of this process. ``alder`` is
the one that is attacked: what lies between it and the coordinator can be led elsewhere, and its clock can be
set. ``birch`` is an honest bystander.
"""

from __future__ import annotations

import csv
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from client.cohorts.home import Home, create_home
from client.cohorts.records.layout import RecordRules
from client.cohorts.registering import register_records
from client.cohorts.rules import Rules
from client.consent import Consents
from client.daemon import SiteDaemon, SiteStatus
from client.link import enrol

# isort: split
from flwr.app import Message, RecordDict

from common.audit import AuditLog
from common.chain import utc_now
from common.contract import Contract, code_digest, seal_contract
from common.evidence.verification import verify
from common.link.link_pb2 import FromCoordinator
from common.study import Study, parse_study
from common.tasks import read_description, read_refusal
from server.coordinator import Coordinator
from server.link.home import CoordinatorHome
from server.link.server import LinkServer
from server.link.speaker import enveloped
from tests.integration.link.hospital import Clock, Hospital, Line
from tests.integration.site_link.wires import Wire, accepting
from tests.unit.contract.drafts import contract_with, task_of

COORDINATOR, ALDER, BIRCH = "coordinator", "alder", "birch"
SITES = (ALDER, BIRCH)
COHORT, APPROVER = "chest", "Dr. Ada"
WAIT_S = 60.0
STUDY: dict[str, Any] = {
    "study": {"name": "small", "labels": {"0": "normal", "1": "lesion"}},
    "model": {"hidden": 2},
    "sequence": {"kind": "steps", "variables": {"pulse": {"centre": 80.0, "scale": 10.0}}, "time_scale": 1.0},
    "data": {"min_cases": 2, "min_test_cases": 1},
    "federation": {"rounds": 2, "min_sites": 1},
}


def study_of_records(**sections: Any) -> Study:
    """A study of what the hospitals hold; keyword arguments are laid over its sections."""
    names = {**STUDY, **sections}
    return parse_study({name: {**STUDY.get(name, {}), **sections.get(name, {})} for name in names})


def until(done: Callable[[], Any], what: str = "it") -> None:
    """Wait for something to come true."""
    end = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.01)


@dataclass
class Ward:
    """A hospital's daemon, in a thread of this process.

    Attributes:
        home: The hospital's home; it has a cohort and is enrolled.
        clock: The hospital's clock.
        wire: What leads to the coordinator.
    """

    home: Home
    clock: Clock
    wire: Wire
    _stop: threading.Event = field(default_factory=threading.Event)
    _daemon: SiteDaemon | None = None

    @contextmanager
    def running(self) -> Iterator[Ward]:
        """Run the daemon during the block."""
        self._daemon = daemon = SiteDaemon(self.home, device="cpu", now=self.clock)
        thread = threading.Thread(target=daemon.run, args=(self._stop,))
        thread.start()
        try:
            until(lambda: self.status.link == "connected", "the connection of a site")
            yield self
        finally:
            self._stop.set()
            thread.join(WAIT_S)
            assert not thread.is_alive()

    @property
    def status(self) -> SiteStatus:
        """What the daemon shows."""
        return SiteStatus.read(self.home.folder)

    def hold(self) -> None:
        """Have the process that trains stand still, in the middle of what it is at."""
        assert self._daemon is not None and self._daemon._desk is not None
        child = self._daemon._desk._executor.process_id
        assert child is not None
        os.kill(child, signal.SIGSTOP)

    @property
    def consents(self) -> Consents:
        """The hospital's register, as another process opens it."""
        return Consents(self.home, self.clock)

    def shows(self, code: str) -> None:
        """Wait until the hospital's people are shown this code, in place of a link."""
        until(lambda: self.status.link != "connected" and self.status.problem == code, f"{code} at the site")

    def decide(self, digest: str, status: str = "approved") -> None:
        """Have a contract approved or withdrawn, once it has come."""
        until(lambda: digest in self.consents.known(), "the arrival of a contract")
        if status == "approved":
            self.consents.approve(digest, COHORT, APPROVER, self.clock())
        else:
            self.consents.withdraw(digest, APPROVER, self.clock())


@dataclass
class Federation:
    """All of it, running.

    Attributes:
        coordinator: The coordinator's daemon.
        clock: The coordinator's clock.
        port: Where it listens.
        wards: The hospitals by name.
        offers: What each site was last asked, as it was sent.
    """

    coordinator: Coordinator
    clock: Clock
    port: int
    wards: Mapping[str, Ward] = field(default_factory=dict)
    offers: dict[str, FromCoordinator] = field(default_factory=dict)
    _seeds: Iterator[int] = field(default_factory=lambda: count(100))
    _usual: list[Contract] = field(default_factory=list)

    @property
    def home(self) -> CoordinatorHome:
        """The coordinator's home."""
        return self.coordinator.home

    @property
    def server(self) -> LinkServer:
        """The coordinator's server."""
        return self.coordinator._server

    @property
    def alder(self) -> Ward:
        """The hospital that is attacked."""
        return self.wards[ALDER]

    # What it does

    def guest(self, name: str) -> Hospital:
        """A further site that has enrolled, in the hands of an attacker: certificate, key, and raw calls."""
        return Hospital.enrolled(self.home, self.port, name, self.clock())

    def node(self, site: str) -> int:
        """A site's number."""
        row = self.home.store.members.site(site)
        assert row is not None
        return row.node_id

    def drafted(self, study: Study | None = None, **terms: Any) -> Contract:
        """A contract of its own; keyword arguments are laid over its terms."""
        now = self.clock()
        usual = {
            "federation": self.home.federation,
            "seed": next(self._seeds),
            "code_digest": code_digest(),
            "issued": now,
            "expires": now + timedelta(days=30),
        }
        return contract_with(study or study_of_records(), **{**usual, **terms})

    def propose(self, study: Study | None = None, approved: Sequence[str] = SITES, **terms: Any) -> Contract:
        """A contract that was proposed to all sites and is approved by some."""
        contract = self.drafted(study, **terms)
        sealed = seal_contract(contract, self.home.signing_key, self.clock())
        self.coordinator.proposals.keep(contract, sealed)
        self.server.propose(sealed)  # as the coordinator's daemon does at its next look
        for site in SITES:
            ward = self.wards[site]
            until(lambda ward=ward: contract.digest in ward.consents.known(), "the arrival of a contract")
        for site in approved:
            self.wards[site].decide(contract.digest)
        return contract

    @property
    def usual(self) -> Contract:
        """A contract that both hospitals have approved, the same for all tests."""
        if not self._usual:
            self._usual.append(self.propose())
        return self._usual[0]

    def ask(
        self,
        sites: Sequence[str],
        content: RecordDict | None = None,
        message_type: str = "query",
        contract: Contract | str | None = None,
    ) -> dict[str, Message]:
        """What sites answer to a task of the coordinator's, by name."""
        contract = self.usual if contract is None else contract
        digest = contract if isinstance(contract, str) else contract.digest
        content = content or task_of(self.usual, message_type)
        grid, nodes = self.server.grid(digest), {self.node(site): site for site in sites}
        messages = [Message(content, node, message_type, ttl=600.0, group_id="g") for node in nodes]
        waiting, answers = set(grid.push_messages(messages)), dict[str, Message]()
        for task in self.home.store.tasks.of_ids(waiting):
            self.offers[nodes[task.node_id]] = FromCoordinator(offer=enveloped(task.envelope))
        end = time.monotonic() + WAIT_S
        while waiting and time.monotonic() < end:
            for answer in grid.pull_messages(waiting):
                waiting.discard(answer.metadata.reply_to_message_id)
                answers[nodes[answer.metadata.src_node_id]] = answer
        assert not waiting, f"no answer to {message_type}"
        return answers

    def say(self, site: str, message: Any) -> None:
        """Say something to a site in its session, whatever it is."""
        session = self.server._sessions.of(self.node(site))
        assert session is not None
        session.send(message)

    def drop(self, site: str) -> None:
        """End the connection of a site, as networks do."""
        session = self.server._sessions.of(self.node(site))
        assert session is not None
        session.end()

    # What must be true

    def log(self, side: str) -> AuditLog:
        """The audit log of the coordinator or of a hospital."""
        folder = self.home.folder if side == COORDINATOR else self.wards[side].home.folder
        return AuditLog(folder / "audit.jsonl")

    def entries(self, side: str) -> list[Any]:
        """All entries of a side's log."""
        return list(self.log(side).entries())

    @contextmanager
    def refusing(
        self, side: str, event: str, code: str, answering: Sequence[str] = SITES, **facts: Any
    ) -> Iterator[None]:
        """What is done in the block is refused by a side, stands in its log, and the study goes on.

        Args:
            side: Whose log tells of it.
            event: As what.
            code: With which code; empty where the entry has none.
            answering: The sites that go on at once.
            **facts: What else the entry says.
        """
        self._quiet()
        before = len(self.entries(side))
        wanted = {**({"code": code} if code else {}), **facts}.items()
        yield

        def told() -> bool:
            new = self.entries(side)[before:]
            return any(each.event == event and wanted <= each.facts.items() for each in new)

        until(told, f"an entry {event} {code} in the log of {side}")
        report = verify({side: self.log(side).path.parent})
        assert report.is_whole, list(report.faults)
        self.goes_on(*answering)

    def goes_on(self, *sites: str) -> None:
        """These sites answer what the coordinator asks them."""
        self.wait_for(*sites)
        for site, answer in self.ask(sites).items():
            description = read_description(answer.content, 2)
            assert (description.site, description.train_cases) == (site, 12)

    def wait_for(self, *sites: str) -> None:
        """Wait until these sites are connected."""
        for site in sites:
            until(lambda site=site: self.server._sessions.of(self.node(site)), f"the session of {site}")

    def _quiet(self) -> None:
        """Wait until no handshake of an earlier test is to be told of."""
        until(lambda: not self.server._listener._begun and not self.server._listener._unknown, "quiet")


def told(line: Line, kind: str, timeout_s: float = WAIT_S) -> Any:
    """The next message of a kind in a session, whatever is said before it."""
    end = time.monotonic() + timeout_s
    while (heard := line.hear(max(0.0, end - time.monotonic()))).WhichOneof("content") != kind:
        pass
    return getattr(heard, kind)


def code_of(answer: Message) -> str:
    """The code with which a task was refused; empty if it was answered."""
    if answer.has_error():
        return answer.error.reason
    refusal = read_refusal(answer.content)
    return refusal.code if refusal is not None else ""


def write_records(path: Path) -> Path:
    """A table of measurements of 18 patients, of whom 12 are to be trained on."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("patient", "time", "variable", "value", "label", "split"))
        for patient in range(18):
            split = "test" if patient % 3 == 0 else "train"
            for hour in range(4):
                writer.writerow(
                    (f"p{patient}", hour, "pulse", 75 + 3 * hour * (patient % 2), patient % 2, split)
                )
    return path


@contextmanager
def hospital(folder: Path, federation: Federation, name: str) -> Iterator[Ward]:
    """A hospital from its first day: a home, a cohort, an invitation used, a daemon that runs."""
    home = create_home(folder / name, name)
    table = write_records(folder / f"{name}.csv")
    register_records(home, COHORT, table, None, Rules(), RecordRules())
    wire = Wire(federation.port)
    with accepting(wire.serve) as port:
        invitation = federation.home.enrolment.invite(name, address=f"127.0.0.1:{port}")
        enrol(home.folder / "link", invitation, utc_now())
        with Ward(home, Clock(), wire).running() as ward:
            yield ward


@contextmanager
def running(folder: Path, port: int) -> Iterator[Federation]:
    """A coordinator on this port and two hospitals."""
    clock, stop = Clock(), threading.Event()
    address = f"127.0.0.1:{port}"
    with (
        CoordinatorHome.create(
            folder / COORDINATOR, address, address, enrolments_a_minute=1000, now=clock
        ) as home,
        ExitStack() as stack,
    ):
        coordinator = Coordinator(home, clock)
        thread = threading.Thread(target=coordinator.run, args=(stop,))
        thread.start()
        stack.callback(thread.join)
        stack.callback(stop.set)
        federation = Federation(coordinator, clock, port)
        until(lambda: any(e.event == "coordinator.started" for e in home.audit.entries()), "the start")
        federation.wards = {name: stack.enter_context(hospital(folder, federation, name)) for name in SITES}
        yield federation


def at(now: datetime) -> int:
    """Milliseconds since 1970."""
    return int(now.timestamp() * 1000)
