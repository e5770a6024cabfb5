"""Why the coordinator cannot be reached: each step of the way taken by itself, each with its remedy.

Nothing is sent but a handshake: no certificate of ours, no word of the link. :mod:`client.link.meeting` takes
the last step, which is to be let in.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from client.link.handshake import shaken
from client.link.identity import SiteIdentity
from client.link.route import Place, addresses, place_of, proxy_of, reached, tunnelled
from common.checks.finding import Finding
from common.errors import ConsiliumError, TrustError
from common.identity import Invitation, identity_of


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to look for, and how to get there.

    Attributes:
        address: The coordinator's ``host:port``.
        federation: Whose coordinator it must be.
        authority: Who must have signed its certificate, PEM.
        certificate: Ours, PEM; None before a site has enrolled.
        proxy: URL of the HTTP proxy in between, or None.
    """

    address: str
    federation: str
    authority: bytes
    certificate: bytes | None = None
    proxy: str | None = None

    @classmethod
    def of(cls, identity: SiteIdentity) -> Target:
        """The coordinator of a site that has enrolled."""
        federation, address = identity.federation, identity.address
        return cls(address, federation, identity.authority, identity.certificate, identity.proxy)

    @classmethod
    def of_invitation(cls, invitation: Invitation, proxy: str | None = None) -> Target:
        """The coordinator that invites."""
        authority = invitation.authority.encode()
        return cls(invitation.address, invitation.federation, authority, proxy=proxy)


def probe(target: Target, now: datetime, timeout_s: float = 5.0) -> tuple[Finding, ...]:
    """What each step showed, up to the first that failed; our own certificate does not stop the others.

    Args:
        target: Whom to look for.
        now: The time.
        timeout_s: How long each step may take.
    """
    findings: list[Finding] = []
    for step, take in _steps(target, now, timeout_s):
        try:
            findings.append(Finding(step, take()))
        except TrustError as error:
            findings.append(Finding.failed(step, error))
            if step != "certificate":
                break
    return tuple(findings)


def error_of(findings: tuple[Finding, ...]) -> ConsiliumError | None:
    """What is wrong by the first step that failed; None if none did."""
    return next((finding.error for finding in findings if finding.error is not None), None)


def _steps(target: Target, now: datetime, timeout_s: float) -> Iterator[tuple[str, Callable[[], str]]]:
    """The steps in their order, each with what takes it; it begins the way anew and ends it again."""
    if target.certificate is not None:
        yield "certificate", partial(_own, target.certificate, target.authority, now)
    yield "name", partial(_named, target)
    yield "port", partial(_listening, target, timeout_s)
    if target.proxy is not None:
        yield "proxy", partial(_through, target, timeout_s)
    yield "tls", partial(_coordinator, target, timeout_s)


def _own(certificate: bytes, authority: bytes, now: datetime) -> str:
    identity = identity_of(certificate, authority, now)
    return f"this site's certificate names {identity.name} and is good until {identity.not_after:%Y-%m-%d}"


def _named(target: Target) -> str:
    place_of(target.address)
    first = _first(target)
    return f"{first.host} is {', '.join(addresses(first))}"


def _listening(target: Target, timeout_s: float) -> str:
    with reached(_first(target), timeout_s):
        return f"somebody listens at {_first(target)}"


def _through(target: Target, timeout_s: float) -> str:
    with _stream(target, timeout_s):
        return f"the proxy connects to {target.address}"


def _coordinator(target: Target, timeout_s: float) -> str:
    version = shaken(lambda: _stream(target, timeout_s), target.authority, target.federation)
    return f"the coordinator of federation {target.federation} answers, over {version}"


def _first(target: Target) -> Place:
    """Where the first connection goes."""
    return proxy_of(target.proxy).place if target.proxy is not None else place_of(target.address)


def _stream(target: Target, timeout_s: float) -> socket.socket:
    """A new connection to whoever is at the coordinator's address."""
    stream = reached(_first(target), timeout_s)
    if target.proxy is not None:
        try:
            tunnelled(stream, proxy_of(target.proxy), place_of(target.address))
        except TrustError:
            stream.close()
            raise
    return stream
