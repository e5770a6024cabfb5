"""Somebody else answers in the coordinator's name: the site does not speak to them, and says so."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from ssl import TLSVersion

import grpc
import pytest

from common.chain import utc_now
from common.contract import seal_contract
from common.identity import Authority, PrivateKey, key_pem, new_federation, new_signing_key, new_tls_key
from common.link import transport
from common.link.link_pb2 import Envelope, FromCoordinator
from tests.attacks.federation import ALDER, BIRCH, Federation, Ward, until
from tests.integration.site_link.scripted import Coordinator
from tests.integration.site_link.wires import accepting, tls_server
from tests.unit.contract.drafts import task_of

Pair = tuple[bytes, bytes]


@contextmanager
def serving(key: bytes, certificate: bytes, authority: bytes) -> Iterator[int]:
    """The port of a server with this pair, which would let everybody in that the site's own could."""
    server = grpc.server(ThreadPoolExecutor(2), options=transport.SERVER_OPTIONS)
    port = server.add_secure_port("127.0.0.1:0", transport.server_credentials(key, certificate, authority))
    server.start()
    try:
        yield int(port)
    finally:
        server.stop(None).wait()


def another_authority(federation: Federation) -> Pair:
    """Of an authority that calls itself as ours does."""
    key, now = new_tls_key(), utc_now()
    impostor = Authority.new(federation.home.federation, now)
    return key_pem(key), impostor.coordinator_certificate(key.public_key(), now)


def another_federation(federation: Federation) -> Pair:
    """Of a coordinator that is honest, and not ours."""
    key, now = new_tls_key(), utc_now()
    return key_pem(key), Authority.new(new_federation(), now).coordinator_certificate(key.public_key(), now)


def a_site(federation: Federation) -> Pair:
    """Of a site, given by our own authority: it is for calling, not for answering."""
    hemlock = federation.guest("hemlock")
    return key_pem(hemlock.key), hemlock.certificate


def an_invitation(federation: Federation) -> Pair:
    """Of an invitation."""
    invitation = federation.home.enrolment.invite("hickory")
    return invitation.bootstrap_key.encode(), invitation.bootstrap_certificate.encode()


@contextmanager
def answered_by(port: int, federation: Federation) -> Iterator[None]:
    """Alder is answered from another port than the coordinator's during the block; then it comes back."""
    federation.alder.wire.target = port
    federation.drop(ALDER)
    yield
    federation.alder.wire.target = federation.port
    federation.goes_on(ALDER)


@pytest.mark.parametrize(
    ("whose", "code"),
    [
        (another_authority, "tls-intercepted"),
        (another_federation, "tls-intercepted"),
        (a_site, "certificate-refused"),
        (an_invitation, "certificate-refused"),
    ],
)
def test_with_a_certificate(
    whose: Callable[[Federation], Pair], code: str, alder: Ward, federation: Federation
) -> None:
    with (
        serving(*whose(federation), federation.home.authority.pem) as port,
        answered_by(port, federation),
        federation.refusing(ALDER, "link.refused", code, answering=[BIRCH]),
    ):
        alder.shows(code)


def test_with_the_coordinators_own_certificate_over_tls_12(
    alder: Ward, federation: Federation, tmp_path: Path
) -> None:
    home = federation.home
    serve = tls_server(home.certificate(), home.tls_key_pem, tmp_path / "pair", TLSVersion.TLSv1_2)
    with (
        accepting(serve) as port,
        answered_by(port, federation),
        federation.refusing(ALDER, "link.refused", "tls-intercepted", answering=[BIRCH]),
    ):
        alder.shows("tls-intercepted")


def test_in_plaintext(alder: Ward, federation: Federation) -> None:
    """Whoever it is, it speaks no TLS: there is no coordinator, and none is sent anything."""
    heard: list[bytes] = []

    def serve(stream: socket.socket) -> None:
        stream.sendall(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")  # what HTTP/2 begins with
        heard.append(stream.recv(4096))

    with (
        accepting(serve) as port,
        federation.refusing(ALDER, "link.disconnected", "coordinator-unreachable", answering=[BIRCH]),
        answered_by(port, federation),
    ):
        until(lambda: heard)
        alder.shows("coordinator-unreachable")
    assert all(each[:2] == b"\x16\x03" for each in heard if each)  # handshakes, and nothing else


@contextmanager
def speaking(federation: Federation, key: PrivateKey) -> Iterator[Coordinator]:
    """A coordinator with the certificate of ours, that signs with another key."""
    impostor = Coordinator(federation.home.federation)
    impostor.authority, impostor.signing_key = federation.home.authority, key
    with impostor.listening():
        yield impostor


def test_with_a_stolen_tls_key(alder: Ward, federation: Federation) -> None:
    """Who can answer as the coordinator does, and cannot sign, is connected to and obeyed in nothing."""
    with speaking(federation, new_signing_key()) as impostor:
        port = int(impostor.address.rpartition(":")[2])
        with answered_by(port, federation):
            until(lambda: alder.status.link == "connected" and impostor.hellos)
            with federation.refusing(ALDER, "message.refused", "envelope-refused", [BIRCH], kind="task"):
                impostor.say(impostor.task(task_of(federation.usual, "query"), site=ALDER))
            with federation.refusing(ALDER, "study.refused", "contract-invalid", [BIRCH]):
                sealed = seal_contract(federation.usual, impostor.signing_key, utc_now())
                envelope = Envelope(body=sealed.body, signature=sealed.signature)
                impostor.say(FromCoordinator(contract=envelope))
            impostor.hang_up()
