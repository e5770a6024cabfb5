"""Who answers at the coordinator's address, by a TLS handshake that shows also what it refuses.

gRPC says only that a handshake failed. The standard library's TLS is used here, which shows the certificate
that was refused, and so who it is that answers in the coordinator's name.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

from cryptography import x509

from client.link.failures import printable
from common.errors import (
    CertificateExpired,
    CertificateRefused,
    ClockSkewed,
    CoordinatorUnreachable,
    TlsIntercepted,
    TrustError,
)
from common.identity import coordinator_name

Open = Callable[[], socket.socket]

# What OpenSSL says of a chain (X509_V_ERR_..., openssl/x509_vfy.h).
_NOT_YET_VALID, _EXPIRED = 9, 10
_OTHER_NAME = 62
_OTHER_ISSUER = {2, 7, 18, 19, 20, 21}

_NO_TLS = "Check address and port; if both are right, something on the way does not let TLS 1.3 through."
_BEHIND = "Set this machine's clock by NTP; the coordinator's certificate begins later than it shows."
_ENDED = "Check this machine's clock; if it is right, the coordinator's certificate must be renewed there."


def shaken(open_stream: Open, authority: bytes, federation: str) -> str:
    """The version of TLS that the coordinator and this machine agree on.

    Args:
        open_stream: A new connection to whoever is there; it may be called twice.
        authority: The authority that the coordinator's certificate must be of, PEM.
        federation: Whose coordinator it must be.

    Raises:
        TlsIntercepted: The certificate is of another authority; the error names it.
        ClockSkewed, CertificateExpired: It is not valid yet, or no more.
        CertificateRefused: It is another one of this authority's, or wrong in other ways.
        CoordinatorUnreachable: There is no TLS to be had.
    """
    context = _context()
    context.load_verify_locations(cadata=authority.decode("ascii"))
    name = coordinator_name(federation)
    try:
        with open_stream() as stream, context.wrap_socket(stream, server_hostname=name) as wrapped:
            return str(wrapped.version())
    except ssl.SSLCertVerificationError as error:
        raise _refused(error, open_stream, name) from None
    except OSError as error:  # of which those of TLS are one kind
        raise _no_tls(error, open_stream, name) from None


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    return context


def _refused(error: ssl.SSLCertVerificationError, open_stream: Open, name: str) -> TrustError:
    code, why = error.verify_code, error.verify_message
    if code == _NOT_YET_VALID:
        return ClockSkewed("the coordinator's certificate is not valid yet", hint=_BEHIND)
    if code == _EXPIRED:
        return CertificateExpired("the coordinator's certificate is no longer valid", hint=_ENDED)
    if code in _OTHER_ISSUER:
        return _intercepted(_issuer(open_stream, name) or "an authority that does not show itself")
    if code == _OTHER_NAME:
        return CertificateRefused("what answers is of this federation, and not its coordinator")
    return CertificateRefused(f"the coordinator's certificate is refused: {why}")


def _no_tls(error: OSError, open_stream: Open, name: str) -> TrustError:
    issuer = _issuer(open_stream, name)
    if issuer is not None:  # it speaks an older version: a coordinator never does
        return _intercepted(f"{issuer}, over a TLS older than 1.3")
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return CoordinatorUnreachable(f"what answers does not speak TLS 1.3: {reason or error}", hint=_NO_TLS)


def _intercepted(issuer: str) -> TlsIntercepted:
    return TlsIntercepted(f"the certificate that answers is of {issuer}, not of this federation's authority")


def _issuer(open_stream: Open, name: str) -> str | None:
    """Who signed the certificate that is shown for a name, whatever it is worth; None without TLS."""
    context = _context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        # By name: on a port that is shared, who asks for none is led to somebody else.
        with open_stream() as stream, context.wrap_socket(stream, server_hostname=name) as wrapped:
            shown = wrapped.getpeercert(binary_form=True)
        issuer = x509.load_der_x509_certificate(shown or b"").issuer.rfc4514_string()
    except (OSError, ValueError, CoordinatorUnreachable):
        return None
    return printable(issuer) or "an authority without a name"
