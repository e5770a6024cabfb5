"""The live sessions: what is to be said to each site, in order, and who is there.

Invariants:

- A site has one session. A second one is refused, unless it comes from the same process (it knows the first
  one's id): that has lost its connection, and takes its own place.
- A session's first word is Welcome or Goodbye, and after Goodbye there is none.
- A site that does not read what is said to it is not listened to either: nothing piles up.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from common.errors import ConsiliumError, ProtocolMismatch, SiteConnectedTwice
from common.link.link_pb2 import Cancel, FromCoordinator, Hello
from server.link.door import Call
from server.link.speaker import enveloped, goodbye
from server.link.store import Task

HELLO_S = 10.0
MOST_UNREAD = 256
"""Messages that wait for a site to read them before it is listened to again."""


@dataclass(frozen=True, slots=True)
class Presence:
    """A site that is connected.

    Attributes:
        site: Its name.
        node_id: Its number.
        version: Its release.
        code_digest: Of its code that touches data, by its own word.
        capabilities: What it says it can do.
        since: When it connected, in seconds since 1970.
        state: What it said last of how it is, empty if nothing.
        facts: What belongs to that.
    """

    site: str
    node_id: int
    version: str
    code_digest: str
    capabilities: Mapping[str, str]
    since: float
    state: str
    facts: Mapping[str, str]


class Session:
    """One site's stream, seen from the coordinator; its threads share it.

    Args:
        call: The call that carries it.
        hello_s: How long the site may take to say who it is.
    """

    def __init__(self, call: Call, hello_s: float = HELLO_S) -> None:
        self.call = call
        self.hello: Hello | None = None
        self.since = time.time()
        self.state = ""
        self.facts: Mapping[str, str] = {}
        self._offered: set[str] = set()
        self._hello_s = hello_s
        self._waiting: deque[FromCoordinator] = deque()
        self._changed = threading.Condition()
        self._error: ConsiliumError | None = None
        self._over = False
        call.farewell = self.end

    @property
    def node_id(self) -> int:
        """The site's number."""
        return self.call.site.node_id

    @property
    def error(self) -> ConsiliumError | None:
        """What it ended for; None if for nothing, or not yet."""
        return self._error

    @property
    def presence(self) -> Presence:
        """The site as it said it is."""
        hello = self.hello or Hello()
        return Presence(
            self.call.site.name,
            self.node_id,
            hello.version,
            hello.code_digest,
            dict(hello.capabilities),
            self.since,
            self.state,
            self.facts,
        )

    def send(self, message: FromCoordinator) -> None:
        """Say something to the site, after what was said before; nothing once the session is over."""
        with self._changed:
            if not self._over:
                self._waiting.append(message)
                self._changed.notify_all()

    def offer(self, task: Task) -> None:
        """Offer a task, once in a session."""
        with self._changed:
            if task.id not in self._offered:
                self._offered.add(task.id)
                self.send(FromCoordinator(offer=enveloped(task.envelope)))

    def withdraw(self, task_id: str, reason: str) -> None:
        """Say that nobody waits for a task any more."""
        self.send(FromCoordinator(cancel=Cancel(task=task_id, reason=reason)))

    def greet(self, hello: Hello, welcome: FromCoordinator) -> None:
        """Say the first word."""
        with self._changed:
            self.hello = hello
            self.send(welcome)

    def end(self, error: ConsiliumError | None = None) -> None:
        """Let the session end, after what was said until now; an error is said instead of that."""
        with self._changed:
            if self._over:
                return
            self._over, self._error = True, error
            if error is not None:
                self._waiting.clear()
                self._waiting.append(FromCoordinator(goodbye=goodbye(error)))
            self._changed.notify_all()

    def outgoing(self) -> Iterator[FromCoordinator]:
        """What is to be said, as it comes, until the session is over."""
        until = time.monotonic() + self._hello_s
        while (message := self._next(until)) is not None:
            yield message

    def wait_for_room(self) -> bool:
        """Whether the session goes on, once the site has read most of what was said to it."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or len(self._waiting) < MOST_UNREAD)
            return not self._over

    def _next(self, until: float) -> FromCoordinator | None:
        with self._changed:
            while not (self._waiting or self._over):
                left_s = None if self.hello is not None else until - time.monotonic()
                if left_s is None or left_s > 0:
                    self._changed.wait(left_s)
                else:
                    self.end(ProtocolMismatch(f"no hello within {self._hello_s:g} s"))
            self._changed.notify_all()  # there is room
            return self._waiting.popleft() if self._waiting else None


class Sessions:
    """Who is connected; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[int, Session] = {}

    def enter(self, session: Session, hello: Hello, welcome: FromCoordinator) -> None:
        """Let a site be there; the welcome is the first that it is told.

        Raises:
            SiteConnectedTwice: Another process has its place.
        """
        with self._lock:
            before = self._of.get(session.node_id)
            if before is not None and not _is_same_process(before, hello):
                raise SiteConnectedTwice(f"{session.call.site.name} is connected already")
            session.greet(hello, welcome)
            self._of[session.node_id] = session
        if before is not None:
            before.end()

    def leave(self, session: Session) -> bool:
        """Whether the site was there with this session; it is not any more."""
        with self._lock:
            if self._of.get(session.node_id) is not session:
                return False
            del self._of[session.node_id]
            return True

    def of(self, node_id: int) -> Session | None:
        """The session of a site, if it is there."""
        with self._lock:
            return self._of.get(node_id)

    def all(self) -> list[Session]:
        """The sessions of all sites that are there, by node id."""
        with self._lock:
            return [self._of[node_id] for node_id in sorted(self._of)]


def _is_same_process(session: Session, hello: Hello) -> bool:
    return (
        session.hello is not None and bool(hello.session_id) and session.hello.session_id == hello.session_id
    )
