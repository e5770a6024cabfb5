"""What is the coordinator's own: settings, keys, its authority and its certificate."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from common.checks import Advice, Finding
from common.checks.files import opened
from common.errors import CertificateExpired, CertificateRefused
from common.identity import anchor_of, identity_of
from server.link.home import AUTHORITY, CERTIFICATE_FILE, SETTINGS_FILE, SIGNING_KEY, TLS_KEY
from server.link.settings import CoordinatorSettings, read_settings

AUTHORITY_KEY, AUTHORITY_CERTIFICATE = f"{AUTHORITY}/key.pem", f"{AUTHORITY}/certificate.pem"
AGEING = timedelta(days=180)
"""Time left of the authority in which a new federation should be planned."""
OVERDUE = 0.75
"""Share of a certificate's time after which its renewal, due at half of it, is late."""

_PLAN = "Plan a new federation: `consilium coordinator init` in a new home, and every site enrols there."
_START = "Start the daemon, or restart it: it renews its own certificate."


def settings(home: Path) -> CoordinatorSettings:
    """``coordinator.toml``.

    Raises:
        HomeInvalid: It cannot be read.
    """
    return read_settings(home / SETTINGS_FILE)


def told_settings(home: Path) -> Finding:
    """Where sites reach the coordinator, and where it listens; raises as :func:`settings`."""
    found = settings(home)
    return Finding("settings", f"sites reach it at {found.address}; it listens on {found.listen}")


def keys(home: Path, passphrase: bytes | None) -> Finding:
    """Whether nobody else can open the keys, and whether they are what they should be.

    Raises:
        KeyUnsafe, KeyUnreadable: Somebody else can, or one is missing or has another passphrase.
    """
    names = (AUTHORITY_KEY, TLS_KEY, SIGNING_KEY)
    how = {opened(home / name, passphrase) for name in names}
    closed = f"{len(names)} keys that only this user can open, {' and '.join(sorted(how))}"
    return Finding("keys", closed if passphrase or "encrypted" not in how else f"{closed}: not tried")


def authority(home: Path, now: datetime) -> Finding:
    """Whether the authority is valid.

    Raises:
        CertificateRefused: It is none.
        CertificateExpired: It is not valid now.
    """
    anchor = anchor_of(_read(home / AUTHORITY_CERTIFICATE))
    start, end = anchor.certificate.not_valid_before_utc, anchor.certificate.not_valid_after_utc
    said = f"of federation {anchor.federation}, until {end:%Y-%m-%d}"
    if not start <= now <= end:
        raise CertificateExpired(
            f"the authority is valid from {start:%Y-%m-%d} to {end:%Y-%m-%d}", hint=_PLAN
        )
    if end - now < AGEING:
        return Finding("authority", said, advice=Advice("authority-ageing", _PLAN))
    return Finding("authority", said)


def certificate(home: Path, now: datetime) -> Finding:
    """Whether the coordinator's own certificate is valid, and renewed in time.

    Raises:
        CertificateRefused: It is not of this authority.
        CertificateExpired: It begins later than now.
    """
    pem = _read(home / CERTIFICATE_FILE)
    start, end = _times(pem, home)
    said = f"until {end:%Y-%m-%d}"
    if now < start:
        raise CertificateExpired(f"{CERTIFICATE_FILE} begins at {start:%Y-%m-%d %H:%M} UTC")
    if now > end:
        return Finding("certificate", f"over since {end:%Y-%m-%d}", advice=Advice("renewal-late", _START))
    if now > start + (end - start) * OVERDUE:
        return Finding("certificate", f"{said}: its renewal is late", advice=Advice("renewal-late", _START))
    return Finding("certificate", said)


def _times(pem: bytes, home: Path) -> tuple[datetime, datetime]:
    """When a certificate of this authority's coordinator begins and ends."""
    try:
        end = x509.load_pem_x509_certificate(pem).not_valid_after_utc
    except ValueError:
        raise CertificateRefused(f"{CERTIFICATE_FILE} cannot be read") from None
    named = identity_of(pem, _read(home / AUTHORITY_CERTIFICATE), end - timedelta(seconds=1))
    if named.role != "coordinator":
        raise CertificateRefused(f"{CERTIFICATE_FILE} is for a {named.role}")
    return named.not_before, named.not_after


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CertificateRefused(
            f"{path} is missing", hint="Put it back from the copy in the safe."
        ) from None
