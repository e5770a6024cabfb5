"""Whether the coordinator is there and lets the site in; or what the site's own daemon says of that."""

from __future__ import annotations

from client.daemon.status import SiteStatus
from client.link.hello import Greeting
from client.link.identity import SiteIdentity
from client.link.meeting import meet
from client.link.probe import Target, probe
from common import __version__
from common.chain import Clock
from common.checks import Finding, passed_over
from common.contract import code_digest
from common.errors import ConsiliumError

_SLOW_S = 5.0


def way(identity: SiteIdentity, now: Clock, timeout_s: float = _SLOW_S) -> tuple[Finding, ...]:
    """Name, port, proxy and TLS, up to the first that failed; our own certificate is looked at elsewhere."""
    target = Target(
        identity.address, identity.federation, identity.authority, certificate=None, proxy=identity.proxy
    )
    return probe(target, now(), timeout_s)


def session(
    identity: SiteIdentity, status: SiteStatus, is_taken: bool, is_reached: bool, now: Clock
) -> tuple[Finding, ...]:
    """Whether the coordinator lets the site in.

    A site has one session, so none is begun while the daemon has it or is about to: its word is taken.

    Args:
        identity: Who the site is.
        status: How the daemon stands.
        is_taken: Whether the daemon, or one that is starting, holds the site's place.
        is_reached: Whether the coordinator answered.
        now: The clock.
    """
    if status.running or is_taken:
        return (_told(status),)
    if not is_reached:
        return passed_over("the coordinator does not answer", "session")
    return (meet(identity, Greeting(__version__, code_digest()), now),)


def _told(status: SiteStatus) -> Finding:
    """What the daemon says."""
    if status.link == "connected":
        said = f"the daemon is connected since {status.since}: the coordinator lets it in, the clocks agree"
        return Finding("session", said)
    if status.problem:
        error = ConsiliumError.of_code(
            status.problem, f"the daemon says of its last attempt: {status.problem}"
        )
        error.hint = status.hint or error.hint
        return Finding.failed("session", error)
    return passed_over("the daemon is just connecting: look again in a minute", "session")[0]
