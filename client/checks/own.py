"""What is the site's own: its home, what it allows, who it is."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from client.cohorts.home import KEY_FILE, Home
from client.link.identity import AUTHORITY, CERTIFICATE, KEY, SiteIdentity
from common.checks import Advice, Finding
from common.checks.files import secrets
from common.errors import CertificateExpired, CertificateRefused, NotEnrolled
from common.identity import Identity, identity_of

LINK, LOCK = "link", "lock"
"""The folder of the link, and in it what :func:`client.link.link_client` holds a lock on."""

OVERDUE = 0.75
"""Share of a certificate's time after which its renewal, due at half of it, is late."""

_RENEW = "Let the daemon run and be connected: it renews the certificate by itself within ten minutes."


def settings(home: Home) -> Finding:
    """Whether ``site.toml`` and ``policy.toml`` can be read.

    Raises:
        HomeInvalid: One of them cannot.
    """
    name, policy = home.settings.name, home.policy
    budget, needed = policy.privacy.epsilon, policy.consent.approvers
    people = "1 person approves" if needed == 1 else f"{needed} people approve"
    return Finding("policy", f"site {name}; {people} a study, a cohort may spend epsilon {budget:g}")


def keys(home: Home) -> Finding:
    """Whether nobody else can open the site's keys.

    Raises:
        HomeInvalid: The key of the pseudonyms is none.
        KeyUnsafe: Somebody else can.
    """
    link_key = home.folder / LINK / KEY
    found = secrets([home.folder / KEY_FILE, *([link_key] if link_key.exists() else [])])
    home.pseudonyms  # noqa: B018  raises where it is no key
    return found


def identity_at(folder: Path, now: datetime, passphrase: bytes | None) -> SiteIdentity:
    """Who the site is, be its certificate valid now or not; what is wrong then, :func:`validity` says.

    Raises:
        NotEnrolled, KeyUnsafe, KeyUnreadable, CertificateRefused: See :meth:`SiteIdentity.read`.
    """
    if not (folder / CERTIFICATE).exists():
        raise NotEnrolled("this site has not enrolled anywhere")
    try:
        return SiteIdentity.read(folder, now, passphrase)
    except CertificateExpired:
        return SiteIdentity.read(folder, _inside(folder / CERTIFICATE), passphrase)


def named(folder: Path) -> Identity:
    """Whom the site's certificate names, be it valid now or not; its key stays closed.

    Raises:
        NotEnrolled: There is none.
        CertificateRefused: It is not of the authority beside it.
    """
    try:
        certificate, authority = (folder / CERTIFICATE).read_bytes(), (folder / AUTHORITY).read_bytes()
    except OSError:
        raise NotEnrolled("this site has not enrolled anywhere") from None
    return identity_of(certificate, authority, _inside(folder / CERTIFICATE))


def validity(identity: SiteIdentity, now: datetime) -> Finding:
    """Whether the site's certificate is valid, and renewed in time."""
    named, start, end = identity.identity, identity.identity.not_before, identity.identity.not_after
    said = f"as {named.name} in federation {named.federation}; certificate until {end:%Y-%m-%d}"
    if not start <= now <= end:
        valid = f"this site's certificate is valid from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
        return Finding.failed("enrolled", CertificateExpired(f"{valid}; here it is {now:%Y-%m-%d %H:%M}"))
    if now > start + (end - start) * OVERDUE:
        return Finding("enrolled", f"{said}: its renewal is late", advice=Advice("renewal-late", _RENEW))
    return Finding("enrolled", said)


def _inside(path: Path) -> datetime:
    """A time at which a certificate is valid."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc - timedelta(seconds=1)
    except ValueError:
        raise CertificateRefused(f"{path} cannot be read") from None
