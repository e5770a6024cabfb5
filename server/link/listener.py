"""The port that sites connect to: its certificate, and connections that never come to a call.

gRPC refuses a certificate that is none, of another authority or expired, an older TLS and plain text before
any call, and tells nobody. But it asks for the server's certificate at each handshake: where no call follows
on one, the log says that somebody was not let in. It cannot say who.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque

import grpc

from common.errors import CertificateRefused
from common.link.transport import HANDSHAKE_TIMEOUT_MS
from server.link.home import CoordinatorHome
from server.link.log import LinkLog

GRACE_S = HANDSHAKE_TIMEOUT_MS / 1000 + 2
"""After a handshake has begun, in which a call must come."""

NOTED_S = 60.0
"""Between two entries on connections without a call, however many there are."""

LOOK_S = 3600.0
"""Between two looks at whether the coordinator's own certificate was made anew."""

HANDSHAKE = "handshake"
_MOST_PEERS = 4096


class Listener:
    """Credentials of the port, and what became of those who tried them.

    Args:
        home: Has the key and the certificate.
        log: Where refused connections are noted.
        grace_s: See ``GRACE_S``.
    """

    def __init__(self, home: CoordinatorHome, log: LinkLog, grace_s: float = GRACE_S) -> None:
        self._home = home
        self._log = log
        self._grace_s = grace_s
        self._lock = threading.Lock()
        self._certificate = home.certificate()
        self._is_new = False  # the certificate, to gRPC
        self._looked = time.monotonic()
        self._begun: deque[float] = deque()
        self._peers: OrderedDict[str, None] = OrderedDict()
        self._unknown = 0
        self._noted = -NOTED_S

    def credentials(self) -> grpc.ServerCredentials:
        """What the port is opened with; every connection must present a certificate of the authority."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(), self._handshake, require_client_authentication=True
        )

    def arrived(self, peer: str) -> None:
        """Note that a call came on a connection."""
        with self._lock:
            if peer in self._peers:
                return
            self._peers[peer] = None
            if len(self._peers) > _MOST_PEERS:
                self._peers.popitem(last=False)
            if self._begun:
                self._begun.popleft()

    def look(self) -> None:
        """Note handshakes on which no call has followed, and see to the certificate."""
        now = time.monotonic()
        with self._lock:
            while self._begun and now - self._begun[0] > self._grace_s:
                self._begun.popleft()
                self._unknown += 1
            due = self._unknown > 0 and now - self._noted >= NOTED_S
            if due:
                self._unknown, self._noted = 0, now
        if due:
            self._log.note("link.refused", code=CertificateRefused.code, call=HANDSHAKE)
        if now - self._looked >= LOOK_S:
            self._looked = now
            self._renew(self._home.certificate())

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        pair = (self._home.tls_key_pem, self._certificate)
        return grpc.ssl_server_certificate_configuration([pair], self._home.authority.pem)

    def _renew(self, certificate: bytes) -> None:
        with self._lock:
            self._is_new = self._is_new or certificate != self._certificate
            self._certificate = certificate

    def _handshake(self) -> grpc.ServerCertificateConfiguration | None:
        """What a connection is met with from now on; None for what the one before was met with.

        Called by gRPC for each connection: it must be quick, and must not raise. Whatever is returned is
        taken for new, and what it takes the place of is freed while other handshakes may still use it
        (https://github.com/grpc/grpc/issues/36693): answered with a configuration each time, a hundred
        connections at once end the process.
        """
        with self._lock:
            self._begun.append(time.monotonic())
            if len(self._begun) > _MOST_PEERS:
                self._begun.popleft()
            is_new, self._is_new = self._is_new, False
            return self._configuration() if is_new else None
