"""The first words of a session: what the site says of itself, and what the coordinator makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from client.link.failures import told
from common.errors import ClockSkewed, CoordinatorUnreachable, ProtocolMismatch
from common.link import PROTOCOL
from common.link.envelope import MAX_SKEW_MS
from common.link.link_pb2 import FromCoordinator, Goodbye, Hello


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a site says of itself when it connects.

    Attributes:
        version: Its release.
        code_digest: Digest of its code that touches data.
        capabilities: What it can do, by name: counts and names of devices, never a path.
    """

    version: str
    code_digest: str = ""
    capabilities: Mapping[str, str] = field(default_factory=dict)

    def hello(self, session_id: str, time_ms: int, holding: tuple[str, ...] = ()) -> Hello:
        """The message that begins a session."""
        return Hello(
            protocol=PROTOCOL,
            version=self.version,
            code_digest=self.code_digest,
            session_id=session_id,
            time_ms=time_ms,
            capabilities=dict(self.capabilities),
            holding=list(holding),
        )


def skew_of(answer: FromCoordinator, now_ms: int) -> int:
    """How many milliseconds the coordinator's clock is ahead of ours, by its answer to our hello.

    Raises:
        ClockSkewed: Too many, either way.
        ProtocolMismatch: It speaks another version of the link.
        TrustError: It does not let us in; the error says why.
        CoordinatorUnreachable: Its answer is none.
    """
    if answer.HasField("goodbye"):
        raise_goodbye(answer.goodbye)
    if not answer.HasField("welcome"):
        raise CoordinatorUnreachable("what answers does not answer as a coordinator does")
    if answer.welcome.protocol != PROTOCOL:
        raise ProtocolMismatch(f"we speak version {PROTOCOL}, the coordinator {answer.welcome.protocol}")
    return checked_skew(answer.welcome.time_ms, now_ms)


def checked_skew(time_ms: int, now_ms: int) -> int:
    """How many milliseconds the coordinator's clock is ahead of ours, by the time that it told.

    Raises:
        ClockSkewed: Too many, either way.
    """
    skew_ms = time_ms - now_ms
    if abs(skew_ms) > MAX_SKEW_MS:
        raise ClockSkewed(f"the coordinator's clock is {skew_ms / 1000:+.0f} s from ours")
    return skew_ms


def raise_goodbye(goodbye: Goodbye) -> None:
    """Raise what the coordinator ends the session for.

    Raises:
        TrustError: The error of that code.
        CoordinatorUnreachable: No code that we know: it stops, or restarts.
    """
    raise told(goodbye.code) or CoordinatorUnreachable("the coordinator ended the session")
