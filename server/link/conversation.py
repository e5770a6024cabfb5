"""What is done with each message of a site's session, from hello to the end."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import grpc

from common import __version__
from common.errors import (
    CertificateExpired,
    ClockSkewed,
    ConsiliumError,
    EnvelopeRefused,
    EnvelopeReplayed,
    MachineError,
    ProtocolMismatch,
    TrustError,
)
from common.link import PROTOCOL
from common.link.envelope import MAX_SKEW_MS, Sealed, Seen, Statement
from common.link.link_pb2 import FromCoordinator, FromSite, Heartbeat, Hello, Status, Welcome
from server.link.door import Call, Door
from server.link.log import LinkLog
from server.link.replies import Replies, contract_of
from server.link.sessions import HELLO_S, Session, Sessions
from server.link.speaker import enveloped, sealed_in
from server.link.store import Tasks

log = logging.getLogger("consilium.coordinator.link")

MOST_FACTS = 64
MOST_HELD = 1000
"""Replies that a site may say it holds; it speaks of the others when these are gone."""

NOT_OF_THE_TASK = frozenset(kind.code for kind in (EnvelopeReplayed, ClockSkewed, CertificateExpired))
"""What a site may say of a task that it will take, or has done, once a clock is right again."""

_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_DIGEST = re.compile(r"([0-9a-f]{64})?")
_CODE = re.compile(r"[a-z][a-z-]{1,39}")
_TEXT = re.compile(r"[ -~]{0,200}")

Consents = Callable[[str, Sealed, Statement], None]


@dataclass(frozen=True, slots=True)
class Conversations:
    """Leads the sessions; threads may share it.

    Attributes:
        door: Knows who called.
        sessions: Who is there.
        tasks: What was asked.
        replies: Takes what is answered.
        log: What is told of it.
        seen: Which consents were taken before.
        contracts: The contracts that sites are to know, newest last.
        consents: Told of each decision of a site: its name, the envelope, what it says.
        now_ms: Milliseconds since 1970.
        hello_s: How long a site may take to say who it is.
    """

    door: Door
    sessions: Sessions
    tasks: Tasks
    replies: Replies
    log: LinkLog
    seen: Seen
    contracts: Callable[[], Iterable[Sealed]]
    consents: Consents
    now_ms: Callable[[], int]
    hello_s: float = HELLO_S

    def hold(self, call: Call, messages: Iterator[FromSite]) -> Iterator[FromCoordinator]:
        """What is said to a site, while another thread listens to it."""
        session = Session(call, self.hello_s)
        # Where the connection is lost nobody asks for the next word any more.
        call.context.add_callback(session.end)
        listener = threading.Thread(
            target=self._listen, args=(session, messages), name="link-session", daemon=True
        )
        listener.start()
        try:
            yield from session.outgoing()
        finally:
            session.end()
            try:
                self._part(session)
            except MachineError as error:
                # Nobody is there any more to be told, and the site's next session is noted again.
                log.warning("the end of a session is not in the audit log: %s", error.code)

    def _part(self, session: Session) -> None:
        """Note that a session is over, or that it never began."""
        error, hello = session.error, session.hello
        if self.sessions.leave(session) and hello is not None:
            self.log.note(
                "link.disconnected",
                site=session.call.site.name,
                session=hello.session_id,
                code=error.code if error else None,
            )
        elif error is not None:
            self.door.refused(session.call, error)
        elif not session.call.began:  # gRPC takes no message far too large, and does not say so
            self.door.refused(session.call, EnvelopeRefused("a session that ended before it began"))

    def _listen(self, session: Session, messages: Iterator[FromSite]) -> None:
        try:
            for message in messages:
                session.call.touch()
                self._take(session, message)
                if not session.wait_for_room():
                    return
        except grpc.RpcError:  # the connection is lost
            pass
        except ConsiliumError as error:
            if isinstance(error, EnvelopeRefused):
                self._message_refused(session, "session", error)
            session.call.end(error)
        except Exception as defect:  # noqa: BLE001 (the edge of the process: its text must not reach the site)
            session.call.end(self.door.defect(defect))
        session.end()

    def _take(self, session: Session, message: FromSite) -> None:
        kind = message.WhichOneof("content")
        if (kind == "hello") != (session.hello is None):
            raise ProtocolMismatch("a session begins with a hello, and has only one")
        if kind == "hello":
            self._greet(session, message.hello)
        elif kind == "heartbeat":
            session.send(FromCoordinator(heartbeat=Heartbeat(time_ms=self.now_ms())))
        elif kind == "reply":
            session.send(self.replies.receive(session.call.site, sealed_in(message.reply)))
        elif kind == "taken":
            self.tasks.taken(message.taken.task, session.node_id)
        elif kind == "status":
            self._status(session, message.status)
        elif kind == "progress" and _TEXT.fullmatch(message.progress.what):
            done = min(max(message.progress.done, 0.0), 1.0)
            session.state, session.facts = "training", {"done": f"{done:.3f}", "what": message.progress.what}
        elif kind == "consent":
            self._consent(session, sealed_in(message.consent))
        # What a newer site says beside it is not for this release.

    def _greet(self, session: Session, hello: Hello) -> None:
        """Let a site be there, and say what there is to say to it.

        Raises:
            ProtocolMismatch, ClockSkewed, SiteConnectedTwice: It may not.
        """
        _check_hello(hello, self.now_ms())
        site = session.call.site
        welcome = Welcome(
            protocol=PROTOCOL, time_ms=self.now_ms(), version=__version__, audit_head=self.log.head
        )
        self.sessions.enter(session, hello, FromCoordinator(welcome=welcome))
        self.log.note(
            "link.connected",
            site=site.name,
            session=hello.session_id,
            version=hello.version,
            code_digest=hello.code_digest or None,
        )
        for contract in self.contracts():
            session.send(FromCoordinator(contract=enveloped(contract)))
        for task_id in hello.holding[:MOST_HELD]:
            answer = self.replies.known(site, task_id)
            if answer is not None:
                session.send(answer)
        for task in self.tasks.open_tasks(session.node_id, self.replies.now_ms()):
            if task.id not in hello.holding:
                session.offer(task)

    def _status(self, session: Session, status: Status) -> None:
        facts = {key: text for key, text in status.facts.items() if _TEXT.fullmatch(key + text)}
        if status.state == "refused":
            self._task_refused(session, facts.get("about", ""), facts.get("code", ""))
        elif _ID.fullmatch(status.state) and len(facts) <= MOST_FACTS:
            session.state, session.facts = status.state, facts

    def _task_refused(self, session: Session, task_id: str, code: str) -> None:
        """A site cannot take a task, so there is no use in waiting for its answer."""
        found = [task for task in self.tasks.of_ids([task_id]) if task.node_id == session.node_id]
        if not found or not found[0].is_open or not _CODE.fullmatch(code) or code in NOT_OF_THE_TASK:
            return
        self.log.note(
            "task.refused",
            task=task_id,
            contract=contract_of(found[0]),
            site=session.call.site.name,
            code=code,
        )
        self.tasks.cancel([task_id], code)
        self.replies.bell.ring()

    def _consent(self, session: Session, sealed: Sealed) -> None:
        site = session.call.site
        try:
            statement = self.replies.opened(site, sealed, "consent")
            decision = statement.content.get("decision")
            if not isinstance(decision, str) or not _ID.fullmatch(decision) or not statement.contract:
                raise EnvelopeRefused(f"a consent of {site.name} that decides nothing, or on nothing")
            self.seen.take(statement)
            self.log.note(
                "consent.received",
                site=site.name,
                contract=statement.contract,
                decision=decision,
                statement=sealed.digest,
            )
            self.consents(site.name, sealed, statement)
        except TrustError as error:
            self._message_refused(session, "consent", error)

    def _message_refused(self, session: Session, kind: str, error: ConsiliumError) -> None:
        name = session.call.site.name
        self.log.refuse("message.refused", name, error.code, site=name, kind=kind)


def _check_hello(hello: Hello, now_ms: int) -> None:
    if hello.protocol != PROTOCOL:
        raise ProtocolMismatch(f"the site speaks version {hello.protocol}, the coordinator {PROTOCOL}")
    if abs(hello.time_ms - now_ms) > MAX_SKEW_MS:
        raise ClockSkewed(f"the site's clock is {(hello.time_ms - now_ms) / 1000:+.0f} s from ours")
    texts = (hello.version, *hello.capabilities.keys(), *hello.capabilities.values())
    in_form = _ID.fullmatch(hello.session_id) and _DIGEST.fullmatch(hello.code_digest)
    if not in_form or not all(map(_TEXT.fullmatch, texts)) or len(texts) > 2 * MOST_FACTS:
        raise ProtocolMismatch("a hello that is not in its form")
