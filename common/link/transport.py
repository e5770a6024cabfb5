"""The connection between a site and the coordinator: mutual TLS 1.3, or none.

The coordinator is checked by the name in its certificate, ``coordinator.FEDERATION.consilium.internal``,
whatever address was dialled: a site trusts the authority of its invitation, and no name service.

Older TLS is refused twice: a handshake fails where ``tls13`` is in force, and ``peer`` looks at the version
under each call, which holds in a process that had loaded gRPC before Consilium, too.
"""

from __future__ import annotations

from common.link import tls13  # noqa: F401  (first: gRPC reads the variable that this sets while it loads)

# isort: split
from collections.abc import Sequence
from datetime import datetime

import grpc

from common.errors import CertificateRefused
from common.identity import Identity, coordinator_name, identity_of
from common.link.pieces import AHEAD_BYTES

Option = tuple[str, int | str]

MAX_MESSAGE_BYTES = 4 * 2**20
KEEPALIVE_TIME_MS = 5_000
KEEPALIVE_TIMEOUT_MS = 10_000
HANDSHAKE_TIMEOUT_MS = 10_000
_TLS = b"TLSv1.3"


def keepalive(time_ms: int, timeout_ms: int) -> tuple[Option, ...]:
    """Options with which a side asks every ``time_ms`` and gives up ``timeout_ms`` later, calls or none."""
    return (
        ("grpc.keepalive_time_ms", time_ms),
        ("grpc.keepalive_timeout_ms", timeout_ms),
        # The one that counts: gRPC hears of a lost connection by this, after a minute unless told otherwise
        # (https://github.com/grpc/grpc/pull/39239).
        ("grpc.http2.ping_timeout_ms", timeout_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    )


_BOTH: tuple[Option, ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    *keepalive(KEEPALIVE_TIME_MS, KEEPALIVE_TIMEOUT_MS),
    # An answer waits behind the bytes that are under way. A window that grows with the queue it makes would
    # have a slow line taken for a dead one; so a message and this much is all that a stream has under way.
    # Pieces of weights are as large as the line is fast: at 20 kB/s an answer waits two seconds.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", AHEAD_BYTES),
    # A piece of weights in one frame: frames of the usual 16 KiB take a sixth more work.
    ("grpc.http2.max_frame_size", 2**20),
)
SERVER_OPTIONS: tuple[Option, ...] = (
    *_BOTH,
    # A site may ask as often as it does; gRPC would take more than one question in five minutes for abuse.
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_TIME_MS // 2),
    ("grpc.http2.max_ping_strikes", 0),
    # Who opens a connection and then says nothing loses it.
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT_MS),
    ("grpc.max_concurrent_streams", 32),
    # A second coordinator on the port is an error, not a share of the sites.
    ("grpc.so_reuseport", 0),
)
CHANNEL_OPTIONS: tuple[Option, ...] = (
    *_BOTH,
    # Each channel has a connection of its own: one that failed says nothing about the next attempt.
    ("grpc.use_local_subchannel_pool", 1),
    # A broken call is the session's to repeat; it knows what was acknowledged.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", HANDSHAKE_TIMEOUT_MS),
)


def server_credentials(key_pem: bytes, cert_pem: bytes, authority_pem: bytes) -> grpc.ServerCredentials:
    """What a coordinator listens with: its own certificate, and one asked of everybody who connects."""
    return grpc.ssl_server_credentials(
        [(key_pem, cert_pem)], root_certificates=authority_pem, require_client_auth=True
    )


def channel(
    address: str,
    federation: str,
    key_pem: bytes,
    cert_pem: bytes,
    authority_pem: bytes,
    proxy: str | None = None,
    options: Sequence[Option] = CHANNEL_OPTIONS,
) -> grpc.Channel:
    """A channel to the coordinator of ``federation``; nothing is sent before the first call.

    Args:
        address: ``host:port`` to dial.
        federation: Whose coordinator must answer.
        key_pem: The site's private key.
        cert_pem: Its certificate, or that of an invitation.
        authority_pem: The one authority that may have signed the coordinator's certificate.
        proxy: ``http://[user:password@]host:port`` of an HTTP CONNECT proxy. Without one the dialling is
            direct, whatever the environment says; its variable ``no_proxy`` exempts from a given one.
        options: In place of those above; of two with one name gRPC takes the first.
    """
    credentials = grpc.ssl_channel_credentials(authority_pem, key_pem, cert_pem)
    through: Option = ("grpc.http_proxy", proxy) if proxy else ("grpc.enable_http_proxy", 0)
    name: Option = ("grpc.ssl_target_name_override", coordinator_name(federation))
    return grpc.secure_channel(address, credentials, options=(*options, through, name))


def peer(context: grpc.ServicerContext, authority_pem: bytes, now: datetime) -> Identity:
    """Who is at the other end of a call, by the certificate of their connection.

    Raises:
        CertificateRefused: There is none, it is not of this authority, or the connection is not TLS 1.3.
        CertificateExpired: It is not valid now.
    """
    facts = context.auth_context()
    versions, certificates = facts.get("ssl_tls_version", []), facts.get("x509_pem_cert", [])
    if list(versions) != [_TLS]:
        raise CertificateRefused(f"a connection over {versions or 'no TLS'}; only TLS 1.3 is allowed")
    if len(certificates) != 1:
        raise CertificateRefused("a connection without a certificate")
    return identity_of(certificates[0], authority_pem, now)
