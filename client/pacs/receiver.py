"""The site's DICOM receiver: takes what allowed senders send (C-STORE) and answers their tests (C-ECHO).

Who is not named in ``allowed_ae_titles`` is rejected, and so is who calls another title than ours. An AE
title is a claim, not a proof: where the network is not trusted, TLS with client certificates proves it.
"""

from __future__ import annotations

import errno
import secrets
import socket
import ssl
import threading
from socketserver import BaseServer
from typing import Any, cast

from pynetdicom import AE, VerificationPresentationContexts
from pynetdicom.transport import ThreadedAssociationServer

from client.pacs.inbox import Inbox
from client.pacs.reception import PDU_BYTES, handlers, silence
from client.pacs.settings import Receiver
from client.pacs.tls import server_context
from common.errors import ConsiliumError, HomeInvalid, PortTaken

_POLL_S = 0.1


class Listener:
    """A receiver, listening while its block runs.

    Args:
        settings: Who may send, and how much.
        inbox: Where objects are kept.
        also_allowed: More AE titles that may send, such as that of an archive that was asked to.
    """

    def __init__(self, settings: Receiver, inbox: Inbox, also_allowed: tuple[str, ...] = ()) -> None:
        self._settings = settings
        self._inbox = inbox
        self._allowed = [*settings.allowed_ae_titles, *also_allowed]
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Listener:
        """Start listening.

        Raises:
            PortTaken: Another program uses the port.
            HomeInvalid: The address cannot be used, or a certificate.
        """
        silence()
        context = server_context(self._settings.tls) if self._settings.tls else None
        try:
            server = _entity(self._settings, self._allowed).make_server(
                (self._settings.host, self._settings.port),
                contexts=VerificationPresentationContexts,
                ssl_context=context,
                evt_handlers=handlers(self._inbox, self._settings.idle_timeout_s),
                server_class=_Server,
            )
        except OSError as error:
            raise _not_opened(self._settings, error) from None
        self._server = cast(_Server, server)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="dicom-receiver", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening; associations that still run are aborted."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            for association in self._server.active_associations:
                association.abort()

    @property
    def port(self) -> int:
        """The port that is listened at."""
        return int(self._server.server_address[1]) if self._server else self._settings.port

    @property
    def active(self) -> int:
        """How many associations run now."""
        return len(self._server.active_associations) if self._server else 0


class _Server(ThreadedAssociationServer):
    """Accepts connections; a handshake is waited for in the connection's own thread, and not for ever."""

    daemon_threads = True

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = cast(socket.socket, self.socket).accept()
        connection.settimeout(self.ae.acse_timeout)
        if self.ssl_context is not None:
            connection = self.ssl_context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Turn away whom even a rejection would cost too much."""
        return len(self.active_associations) < 4 * self.ae.maximum_associations

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            if isinstance(request, ssl.SSLSocket):
                request.do_handshake()
        except OSError:
            self.shutdown_request(request)
            return
        super().process_request_thread(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the base class would print a trace."""

    def shutdown(self) -> None:
        """Stop listening; the class above would also look for itself in a list that it is not in."""
        BaseServer.shutdown(self)
        self.server_close()


def _entity(settings: Receiver, allowed: list[str]) -> AE:
    entity = AE(ae_title=settings.ae_title)
    entity.require_called_aet = True
    # An empty list would allow everybody: then only a title that nobody can know is allowed.
    entity.require_calling_aet = allowed or [secrets.token_hex(8)]
    entity.maximum_associations = settings.max_associations
    entity.maximum_pdu_size = PDU_BYTES
    entity.acse_timeout = settings.network_timeout_s
    entity.network_timeout = settings.idle_timeout_s
    return entity


def _not_opened(settings: Receiver, error: OSError) -> ConsiliumError:
    if error.errno == errno.EADDRINUSE:
        return PortTaken(
            f"{settings.where} is in use by another program.",
            hint="Stop it, or choose another port in [receive] of site.toml.",
        )
    return HomeInvalid(
        f"{settings.where} cannot be listened at: {error.strerror or 'no such address'}.",
        hint="Choose another host or port in [receive] of site.toml; ports below 1024 need a right.",
    )
