"""Who calls and whether they may: each call begins here, and what is refused in it ends here.

Invariants:

- No message of a call is read before its caller is known by certificate.
- Only code and public sentence of an error leave the coordinator; a defect says nothing but that it is one.
- A call whose caller is revoked, or whose certificate expires meanwhile, can be found and ended.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc

from common.chain import Clock
from common.errors import (
    CertificateExpired,
    CertificateRefused,
    ConsiliumError,
    CoordinatorUnreachable,
    EnrolmentLimited,
    EnvelopeRefused,
    MachineError,
    SiteConnectedTwice,
)
from common.identity.certificates import Identity
from common.link.transport import peer
from server.link.enrolment import Enrolment
from server.link.log import LinkLog
from server.link.members import SiteRow

MOST_CALLS = 16
"""Calls of one caller at a time: two sessions, one of them a newcomer, and what its transfers need."""

_STATUS = {
    ConsiliumError: grpc.StatusCode.INTERNAL,
    CoordinatorUnreachable: grpc.StatusCode.CANCELLED,
    CertificateRefused: grpc.StatusCode.UNAUTHENTICATED,
    CertificateExpired: grpc.StatusCode.UNAUTHENTICATED,
    EnrolmentLimited: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_private_log = logging.getLogger("consilium.link")


@dataclass(slots=True, eq=False)
class Call:
    """A call, from its first to its last word.

    Attributes:
        rpc: What is called.
        context: Of the call.
        identity: Who calls; None until that is known.
        row: The site that calls; None until it was let in.
        audited: Whether what is refused from here on is audited elsewhere.
        began: Whether a message of the call has arrived.
        heard: When the caller last did something, by the monotonic clock.
        error: Why the call ends; None as long as it may go on.
        ended_at: When that was decided.
        farewell: Called then, where the call has a last word to say; such a call may be silent for long.
    """

    rpc: str
    context: grpc.ServicerContext
    identity: Identity | None = None
    row: SiteRow | None = None
    audited: bool = False
    began: bool = False
    heard: float = field(default_factory=time.monotonic)
    error: ConsiliumError | None = None
    ended_at: float = 0.0
    farewell: Callable[[ConsiliumError], None] | None = None

    @property
    def site(self) -> SiteRow:
        """The site that calls.

        Raises:
            CertificateRefused: None was let in.
        """
        if self.row is None:
            raise CertificateRefused("the caller is no site")
        return self.row

    @property
    def who(self) -> str:
        """The caller, for limits."""
        return f"{self.identity.role} {self.identity.name}" if self.identity else ""

    def touch(self) -> None:
        """Note a sign of life.

        Raises:
            ConsiliumError: The call has to end.
        """
        self.heard = time.monotonic()
        if self.error is not None:
            raise self.error

    def end(self, error: ConsiliumError) -> None:
        """Have the call end soon, for this reason; the first one stays."""
        if self.error is None:
            self.error, self.ended_at = error, time.monotonic()
            if self.farewell is not None:
                self.farewell(error)


class Door:
    """Lets callers in.

    Args:
        authority_pem: The federation's authority.
        enrolment: Knows who is a site.
        log: Where refusals are noted.
        now: The clock of certificates.
        arrived: Told of each call's connection.
    """

    def __init__(
        self,
        authority_pem: bytes,
        enrolment: Enrolment,
        log: LinkLog,
        now: Clock,
        arrived: Callable[[str], None],
    ) -> None:
        self._authority_pem = authority_pem
        self._enrolment = enrolment
        self._log = log
        self._now = now
        self._arrived = arrived
        self._lock = threading.Lock()
        self._calls: dict[Call, None] = {}

    @contextmanager
    def answering(self, rpc: str, context: grpc.ServicerContext) -> Iterator[Call]:
        """Answer a call: what is refused during the block is noted, and ends the call with its code."""
        call = Call(rpc, context)
        self._arrived(context.peer())
        with self._lock:
            self._calls[call] = None
        try:
            yield call
            return
        except grpc.RpcError:  # the caller has gone, or was cut off
            error = call.error or _cut_off(call)
            call.audited = call.error is None and call.began
        except ConsiliumError as refused:  # to a call that we ended, gRPC may also say that no more came
            error = call.error or refused
        except Exception as defect:  # noqa: BLE001 (the process's edge: its text must not reach the caller)
            error = self.defect(defect)
        finally:
            with self._lock:
                del self._calls[call]
        if not call.audited:
            self.refused(call, error)
        context.abort(status_of(error), f"{error.code}: {error.public}")

    def identify(self, call: Call) -> Identity:
        """Who calls, by certificate.

        Raises:
            CertificateRefused, CertificateExpired: It proves nothing here and now.
            SiteConnectedTwice: There are more calls with it at a time than one caller makes.
        """
        call.identity = peer(call.context, self._authority_pem, self._now())
        if sum(other.who == call.who for other in self.calls()) > MOST_CALLS:
            raise SiteConnectedTwice(f"{call.who} makes more than {MOST_CALLS} calls at a time")
        return call.identity

    def admit(self, call: Call) -> Identity:
        """Who calls, which is a site.

        Raises:
            CertificateRefused, CertificateExpired, SiteRevoked: It is no site, or none any more.
            SiteConnectedTwice: It makes more calls at a time than one site does.
        """
        identity = self.identify(call)
        call.row = self._enrolment.admit(identity)
        return identity

    def calls(self) -> list[Call]:
        """The calls that have not ended, in the order in which they came."""
        with self._lock:
            return list(self._calls)

    def check(self, identity: Identity) -> None:
        """Look at a site's certificate once more.

        Raises:
            CertificateRefused, CertificateExpired, SiteRevoked: It may not go on.
        """
        if self._now() > identity.not_after:
            raise CertificateExpired(f"the certificate of {identity.name} ended at {identity.not_after}")
        self._enrolment.admit(identity)

    def refused(self, call: Call, error: ConsiliumError) -> None:
        """Note that a caller was refused."""
        identity = call.identity
        facts = {"role": identity.role, "name": identity.name} if identity else {}
        if identity and identity.role == "site":
            facts["site"] = identity.name
        try:
            self._log.refuse("link.refused", call.who, error.code, call=call.rpc, **facts)
        except MachineError as unwritten:  # the caller is refused all the same
            _private_log.error("%s: %s", unwritten.code, unwritten.private)

    def defect(self, error: Exception) -> ConsiliumError:
        """What is said of a defect: nothing; where it is stands in the coordinator's own log."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        _private_log.error("%s in %s, line %s", type(error).__name__, frame.name, frame.lineno)
        return ConsiliumError()


def _cut_off(call: Call) -> ConsiliumError:
    """Why a call ended that we did not end; gRPC does not say, but it takes no message far too large."""
    if call.began:
        return CoordinatorUnreachable("the call was cut off")
    return EnvelopeRefused("the call ended before a message of it could be taken in")


def status_of(error: ConsiliumError) -> grpc.StatusCode:
    """gRPC's word for an error; the code says more."""
    if isinstance(error, MachineError):
        return grpc.StatusCode.RESOURCE_EXHAUSTED
    return _STATUS.get(type(error), grpc.StatusCode.PERMISSION_DENIED)
