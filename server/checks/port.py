"""Whether the coordinator listens, and whether whoever answers at the address it gives out is it."""

from __future__ import annotations

import errno
import socket
import ssl
from pathlib import Path

from cryptography import x509

from common.checks import Advice, Finding, passed_over
from common.errors import CertificateRefused, CoordinatorUnreachable, PortTaken, TlsIntercepted
from common.identity import anchor_of, coordinator_name
from server.checks.own import AUTHORITY_CERTIFICATE
from server.link.home import CERTIFICATE_FILE
from server.status import CoordinatorStatus

_TIMEOUT_S = 5.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "::1", "::": "::1"}  # noqa: S104  where to look
_LOW_PORT = (
    "Ports below 1024 need a privilege: listen on a higher one behind a proxy that passes TCP on, or give "
    "the unit AmbientCapabilities=CAP_NET_BIND_SERVICE."
)
_UNSEEN = (
    "Ask a site for `consilium site check`: some networks do not show a machine its own outer address. "
    "Where a site cannot reach it either, look at the name, the firewall and the proxy in front."
)
_INFRONT = (
    "What stands in front must pass TCP through and not open TLS (nginx: `stream`, not `http`); and the "
    "address must lead to this machine."
)


def listening(listen: str, status: CoordinatorStatus) -> Finding:
    """Whether the daemon listens, or could.

    Raises:
        CoordinatorUnreachable: The daemon runs and does not answer at its own port.
        PortTaken: Another program has the port.
    """
    host, port = _split(listen)
    if not status.running:
        return _free(host, port)
    place = f"{host}:{status.port}"
    try:
        with socket.create_connection((_EVERYWHERE.get(host, host), status.port), _TIMEOUT_S):
            return Finding("port", f"the daemon listens on {place}")
    except OSError as error:
        said = f"the daemon runs, and {place} does not answer: {error.strerror or error}"
        raise CoordinatorUnreachable(said, hint="Restart the daemon, and look at its log.") from None


def named(address: str) -> Finding:
    """Whether the name that sites are given is known here."""
    host, port = _split(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return Finding("name", f"the name {host} is not known here", advice=Advice("address-unseen", _UNSEEN))
    return Finding("name", f"{host} is {', '.join(dict.fromkeys(str(each[4][0]) for each in found))}")


def answering(home: Path, address: str) -> tuple[Finding, ...]:
    """Whether who answers at the address that sites are given is this coordinator, over TLS 1.3."""
    try:
        stream = socket.create_connection(_split(address), _TIMEOUT_S)
    except (OSError, UnicodeError) as error:
        said = f"nobody answers at {address} from here: {getattr(error, 'strerror', None) or error}"
        unseen = Finding("address", said, advice=Advice("address-unseen", _UNSEEN))
        return (unseen, *passed_over("nobody answers", "tls"))
    with stream:
        found = Finding("address", f"somebody answers at {address}")
        return (found, _shaken(stream, home, address))


def _shaken(stream: socket.socket, home: Path, address: str) -> Finding:
    authority = (home / AUTHORITY_CERTIFICATE).read_bytes()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(cadata=authority.decode("ascii"))
    name = coordinator_name(anchor_of(authority).federation)
    try:
        with context.wrap_socket(stream, server_hostname=name) as wrapped:
            shown, version = wrapped.getpeercert(binary_form=True) or b"", wrapped.version()
    except ssl.SSLCertVerificationError as error:
        said = f"{address} shows a certificate that sites refuse: {error.verify_message}"
        return Finding.failed("tls", TlsIntercepted(said, hint=_INFRONT))
    except OSError as error:  # of which those of TLS are one kind
        said = f"{address} does not speak TLS 1.3: {error.strerror or error}"
        return Finding.failed("tls", CoordinatorUnreachable(said, hint=_INFRONT))
    if _key_of_der(shown) != _key_of_pem((home / CERTIFICATE_FILE).read_bytes()):
        said = f"{address} leads to another coordinator of this federation than the one in this home"
        return Finding.failed("tls", CertificateRefused(said, hint=_INFRONT))
    return Finding("tls", f"this coordinator's own certificate, over {version}")


def _free(host: str, port: int) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            return Finding("port", f"the daemon does not run; {host}:{port} is free to listen on")
    except OSError as error:
        low = _LOW_PORT if error.errno == errno.EACCES else ""
        raise PortTaken(f"cannot listen on {host}:{port}: {error.strerror or error}", hint=low) from None


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _key_of_der(certificate: bytes) -> object:
    return x509.load_der_x509_certificate(certificate).public_key()


def _key_of_pem(certificate: bytes) -> object:
    return x509.load_pem_x509_certificate(certificate).public_key()
