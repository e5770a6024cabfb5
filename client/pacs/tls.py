"""TLS contexts for DICOM's own protocol: version 1.2 or later, and the other side is always verified."""

from __future__ import annotations

import ssl
from pathlib import Path

from client.pacs.settings import ClientTls, ServerTls
from common.errors import HomeInvalid


def server_context(tls: ServerTls) -> ssl.SSLContext:
    """What the receiver answers with; with a ``ca`` a sender without a certificate of it is turned away.

    Raises:
        HomeInvalid: A certificate or key cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_pair(context, tls.certificate, tls.key)
    if tls.ca is not None:
        _load_authorities(context, tls.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(tls: ClientTls) -> ssl.SSLContext:
    """What an archive is met with; its certificate must be good for its name.

    Raises:
        HomeInvalid: A certificate or key cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.ca is None:
        context.load_default_certs()
    else:
        _load_authorities(context, tls.ca)
    if tls.certificate is not None and tls.key is not None:
        _load_pair(context, tls.certificate, tls.key)
    return context


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        # Without a password given, OpenSSL would stop and ask the terminal for one.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        raise HomeInvalid(f"{certificate} and {key} cannot be used as certificate and key.") from None


def _load_authorities(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(ca)
    except OSError:
        raise HomeInvalid(f"{ca} cannot be used as a list of authorities.") from None
