"""The names that certificates carry: DNS names inside one domain for each federation.

No such name is ever looked up. Certificates name a role, not an address, so they stay as they are when the
coordinator moves; and the authority's name constraints keep all of them within the domain.
"""

from __future__ import annotations

import re
import secrets
from typing import Literal

from common.errors import CertificateRefused

Role = Literal["coordinator", "site", "invitation"]

COORDINATOR: Literal["coordinator"] = "coordinator"
SITE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")

_FEDERATION = re.compile(r"[0-9a-f]{12}")
_INVITATION_ID = re.compile(r"[0-9a-f]{32}")
_SUFFIX = "consilium.internal"
_SITES, _INVITATIONS = "sites", "invitations"
_SITE_HINT = "A site's name has 1 to 40 of a-z, 0-9 and -; it begins and ends with a letter or digit."


def new_federation() -> str:
    """Twelve random hexadecimal digits that tell a federation from every other."""
    return secrets.token_hex(6)


def new_invitation_id() -> str:
    """Thirty-two random hexadecimal digits."""
    return secrets.token_hex(16)


def is_site_name(text: str) -> bool:
    """Whether a site may be called so."""
    return SITE_NAME.fullmatch(text) is not None


def is_invitation_id(text: str) -> bool:
    """Whether it is what :func:`new_invitation_id` gives."""
    return _INVITATION_ID.fullmatch(text) is not None


def domain(federation: str) -> str:
    """The domain that holds all names of a federation.

    Raises:
        CertificateRefused: It is not what :func:`new_federation` gives.
    """
    if not _FEDERATION.fullmatch(federation):
        raise CertificateRefused(f"{federation!r} is no federation: 12 of 0-9 and a-f")
    return f"{federation}.{_SUFFIX}"


def federation_of(name: str) -> str:
    """The federation that a domain belongs to.

    Raises:
        CertificateRefused: It is not what :func:`domain` gives.
    """
    federation = name.removesuffix(f".{_SUFFIX}")
    if domain(federation) != name:
        raise CertificateRefused(f"{name!r} is no federation's domain")
    return federation


def coordinator_name(federation: str) -> str:
    """The name that a coordinator's certificate carries and that every site checks."""
    return f"{COORDINATOR}.{domain(federation)}"


def site_dns(federation: str, site: str) -> str:
    """The name that a site's certificate carries.

    Raises:
        CertificateRefused: A site may not be called so.
    """
    if not is_site_name(site):
        raise CertificateRefused(f"{site!r} is no name for a site", hint=_SITE_HINT)
    return f"{site}.{_SITES}.{domain(federation)}"


def invitation_dns(federation: str, invitation_id: str) -> str:
    """The name that an invitation's bootstrap certificate carries.

    Raises:
        CertificateRefused: It is not what :func:`new_invitation_id` gives.
    """
    if not is_invitation_id(invitation_id):
        raise CertificateRefused(f"{invitation_id!r} is no invitation: 32 of 0-9 and a-f")
    return f"{invitation_id}.{_INVITATIONS}.{domain(federation)}"


def dns_name(federation: str, role: Role, name: str) -> str:
    """The DNS name of a role's holder; a coordinator's ``name`` is always ``coordinator``."""
    if role == "site":
        return site_dns(federation, name)
    if role == "invitation":
        return invitation_dns(federation, name)
    if name != COORDINATOR:
        raise CertificateRefused(f"{name!r} is no name for a coordinator")
    return coordinator_name(federation)


def holder_of(federation: str, dns: str) -> tuple[Role, str]:
    """Role and name that a DNS name stands for: the inverse of :func:`dns_name`.

    Raises:
        CertificateRefused: It stands for nobody in this federation.
    """
    parts = dns.removesuffix(f".{domain(federation)}").split(".")
    roles: dict[str, Role] = {_SITES: "site", _INVITATIONS: "invitation"}
    role: Role = roles.get(parts[1], COORDINATOR) if len(parts) == 2 else COORDINATOR
    if dns_name(federation, role, parts[0]) != dns:
        raise CertificateRefused(f"{dns!r} stands for nobody in federation {federation}")
    return role, parts[0]
