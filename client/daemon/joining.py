"""How a hospital joins a federation: its site enrols, and the audit log tells of it."""

from __future__ import annotations

from datetime import datetime

from client.cohorts.home import Home
from client.link import SiteIdentity, Target, enrol, error_of, probe
from common.errors import CoordinatorUnreachable
from common.identity import Invitation, anchor_of

LINK = "link"
"""The folder of a site's identity, in its home."""


def join(
    home: Home,
    invitation: Invitation,
    now: datetime,
    *,
    proxy: str | None = None,
    passphrase: bytes | None = None,
) -> SiteIdentity:
    """The identity that the coordinator gave to the site whose home this is.

    Args:
        home: The site's home.
        invitation: From :func:`common.identity.read_invitation`, which checked it.
        now: The time.
        proxy: URL of the HTTP proxy on the way to the coordinator.
        passphrase: What the key is encrypted under on the disk; None for not at all.

    Raises:
        TrustError, MachineError: See :func:`client.link.enrol`.
        AuditBroken: The log is not the one that was written; the site is enrolled all the same.
    """
    try:
        identity = enrol(home.folder / LINK, invitation, now, proxy=proxy, passphrase=passphrase)
    except CoordinatorUnreachable as error:  # which step of the way fails
        raise error_of(probe(Target.of_invitation(invitation, proxy), now)) or error from None
    home.audit(
        "site.enrolled",
        site=identity.name,
        serial=identity.identity.serial,
        fingerprint=identity.identity.fingerprint,
        federation=identity.federation,
        authority=anchor_of(identity.authority).fingerprint,
    )
    return identity
