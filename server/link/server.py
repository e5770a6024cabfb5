"""The coordinator's server: one port, everything behind it, and the Grid that studies run over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import grpc

from common.chain import Clock, utc_now
from common.errors import PortTaken
from common.evidence.heads import PeerHeads
from common.link.envelope import Sealed, Seen, Statement
from common.link.link_pb2 import FromCoordinator
from common.link.transport import MAX_MESSAGE_BYTES, SERVER_OPTIONS
from server.link.bell import Bell
from server.link.conversation import Conversations
from server.link.door import Door
from server.link.grid import LinkGrid
from server.link.home import CoordinatorHome
from server.link.listener import GRACE_S, Listener
from server.link.log import LinkLog
from server.link.replies import Replies
from server.link.service import Service, handlers
from server.link.sessions import HELLO_S, Presence, Sessions
from server.link.speaker import Speaker, enveloped
from server.link.steady import Steady
from server.link.transfers import Transfers
from server.link.warden import SILENCE_S, Warden

MOST_SITES = 64
_CALLS_EACH = 4  # that a site has at a time in the mean: its session, and now and then two transfers
_SEEN = "seen"

# A message that is a little too large reaches us, to be refused with a code; a larger one gRPC cuts off.
_RECEIVED = "grpc.max_receive_message_length"
_OPTIONS = tuple({**dict(SERVER_OPTIONS), _RECEIVED: 4 * MAX_MESSAGE_BYTES}.items())


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations of the server, in seconds.

    Attributes:
        hello_s: How long a site may take to say who it is.
        silence_s: How long nothing may move in a call that is no session.
        grace_s: How long after a handshake a call must come.
    """

    hello_s: float = HELLO_S
    silence_s: float = SILENCE_S
    grace_s: float = GRACE_S


def _unheard(site: str, sealed: Sealed, statement: Statement) -> None:
    """What becomes of a consent that nobody asked to be told of: it stands in the audit log."""


def _nothing() -> Iterable[Sealed]:
    return ()


class LinkServer:
    """Serves sites from :meth:`start` to :meth:`stop`, or as a context manager on the port of the settings.

    Args:
        home: The coordinator's; it stays open.
        contracts: The contracts that a site is told of when it connects.
        consents: Told of each decision of a site: its name, the envelope, what it says.
        now: The clock.
        timing: How long things may take.
        most_sites: How many sites may be connected.
    """

    def __init__(
        self,
        home: CoordinatorHome,
        *,
        contracts: Callable[[], Iterable[Sealed]] = _nothing,
        consents: Callable[[str, Sealed, Statement], None] = _unheard,
        now: Clock = utc_now,
        timing: Timing | None = None,
        most_sites: int = MOST_SITES,
    ) -> None:
        self.home = home
        self._now = now
        self._steady_ms = Steady(self._now_ms)  # deadlines are judged by it
        self._timing = timing or Timing()
        self._store = home.store
        self._log, self._bell, self._sessions = LinkLog(home.audit), Bell(), Sessions()
        self._speaker = Speaker(home.federation, home.signing_key, self._now_ms)
        self._transfers = Transfers(home.blobs, self._store.tasks, self._steady_ms)
        self._listener = Listener(home, self._log, self._timing.grace_s)
        self._door = Door(home.authority.pem, home.enrolment, self._log, now, self._listener.arrived)
        self._seen = Seen(home.folder / _SEEN, now_ms=self._now_ms)
        self._warden = Warden(
            self._door,
            self._sessions,
            self._store.tasks,
            self._bell,
            self._log,
            self._steady_ms,
            self._listener.look,
            self._timing.silence_s,
        )
        service = Service(home, self._door, self._conversations(contracts, consents), self._transfers)
        calls = most_sites * _CALLS_EACH
        self._threads = ThreadPoolExecutor(calls, "link")
        self._server = grpc.server(
            self._threads,
            handlers=handlers(service),
            options=_OPTIONS,
            maximum_concurrent_rpcs=calls,
        )
        self._stopped = threading.Event()

    def start(self, port: int | None = None) -> int:
        """The port that is listened on now.

        Args:
            port: Which; None for that of the settings, 0 for a free one.

        Raises:
            PortTaken: It is in use, or not to be had.
        """
        host, _, set_port = self.home.settings.listen.rpartition(":")
        place = f"{host}:{set_port if port is None else port}"
        try:
            bound = int(self._server.add_secure_port(place, self._listener.credentials()))
        except RuntimeError:
            self.stop(0.0)
            raise PortTaken(
                f"cannot listen on {place}",
                hint="Stop the program that holds the port, or set another `listen` in coordinator.toml.",
            ) from None
        self._server.start()
        self._warden.start()
        return bound

    def stop(self, grace_s: float = 2.0) -> None:
        """Let the sites go, who will try again; all is over when this returns, after ``grace_s`` at most."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        ended = self._server.stop(grace_s)
        for session in self._sessions.all():
            session.end()
        ended.wait()
        self._warden.stop()
        self._threads.shutdown()
        self._seen.close()

    def __enter__(self) -> LinkServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def grid(self, contract: str) -> LinkGrid:
        """A Grid for the study whose contract has this digest."""
        return LinkGrid(
            contract,
            self._store.members,
            self._sessions,
            self._store.tasks,
            self._transfers,
            self._speaker,
            self._log,
            self._bell,
            self._steady_ms,
        )

    def propose(self, contract: Sealed) -> None:
        """Tell the sites that are connected of a contract."""
        for session in self._sessions.all():
            session.send(FromCoordinator(contract=enveloped(contract)))

    def revoke(self, site: str) -> bool:
        """Whether anything of a site was good until now; its connections are cut at once.

        Raises:
            SiteUninvited: There is no such site, and none was invited by that name.
            AuditBroken, DiskFull, OutputUnwritable: The audit log cannot say so; it is revoked all the same.
        """
        try:
            return self.home.enrolment.revoke(site)
        finally:
            self._warden.look()

    def present(self) -> list[Presence]:
        """The sites that are connected, by node id."""
        return [session.presence for session in self._sessions.all()]

    def _conversations(
        self, contracts: Callable[[], Iterable[Sealed]], consents: Callable[[str, Sealed, Statement], None]
    ) -> Conversations:
        tasks, members = self._store.tasks, self._store.members
        replies = Replies(
            tasks,
            members,
            self._transfers,
            self._log,
            PeerHeads(self.home.audit),
            self._speaker,
            self._bell,
            self._steady_ms,
        )
        return Conversations(
            self._door,
            self._sessions,
            tasks,
            replies,
            self._log,
            self._seen,
            contracts,
            consents,
            self._now_ms,
            self._timing.hello_s,
        )

    def _now_ms(self) -> int:
        return int(self._now().timestamp() * 1000)
