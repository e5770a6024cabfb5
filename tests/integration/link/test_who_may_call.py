"""Who calls is let in by certificate; limits keep one caller from costing the others anything."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from common.errors import PortTaken, SiteUninvited
from common.identity.authority import site_request
from common.identity.keys import key_of, key_pem, new_tls_key
from common.link.link_pb2 import EnrolRequest, Heartbeat, RenewRequest
from common.link.link_pb2_grpc import EnrolmentStub
from server.link.home import CoordinatorHome
from server.link.server import LinkServer
from tests.integration.link.hospital import WAIT_S, Clock, Hospital, Line

Told = Callable[..., list[dict[str, Any]]]


def is_alive(line: Line) -> bool:
    line.say(heartbeat=Heartbeat(time_ms=1))
    return bool(line.expect("heartbeat").time_ms)


@pytest.fixture
def bystander(birch: Hospital) -> Iterator[Line]:
    """Another site's session, which must not notice anything."""
    with birch.session() as line:
        yield line
        assert is_alive(line)


@pytest.fixture
def bootstrap(alder: Hospital, home: CoordinatorHome) -> Hospital:
    """Somebody who holds an invitation."""
    invitation = home.enrolment.invite("cedar")
    key, certificate = invitation.bootstrap_key.encode(), invitation.bootstrap_certificate.encode()
    return alder.with_certificate(key_of(key), certificate)


def test_handshakes_that_lead_to_calls_are_not_told_of(alder: Hospital, told: Told) -> None:
    for _ in range(3):
        alder.offset("d" * 64)
    with alder.session():
        assert told("link.refused", 0.8) == []


def shown(port: int, pair: Path) -> bytes:
    """The certificate that a new connection is met with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(pair)
    with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain) as secure:
        return secure.getpeercert(binary_form=True) or b""


def test_a_certificate_that_was_made_anew_is_shown_from_then_on(
    alder: Hospital, home: CoordinatorHome, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = tmp_path / "pair.pem"
    pair.write_bytes(key_pem(alder.key) + alder.certificate)
    before = shown(alder.port, pair)
    assert before == ssl.PEM_cert_to_DER_cert(home.certificate().decode())
    clock.ahead = timedelta(days=60)
    after = ssl.PEM_cert_to_DER_cert(home.certificate().decode())
    assert shown(alder.port, pair) == before != after
    monkeypatch.setattr("server.link.listener.LOOK_S", 0.0)
    until = time.monotonic() + WAIT_S
    while shown(alder.port, pair) != after and time.monotonic() < until:
        time.sleep(0.05)
    assert {shown(alder.port, pair) for _ in range(3)} == {after}


def test_an_invitation_enrols_and_a_certificate_is_renewed(
    bootstrap: Hospital, alder: Hospital, home: CoordinatorHome, told: Told
) -> None:
    key, invitation = new_tls_key(), home.enrolment.invite("dogwood")
    guest = alder.with_certificate(
        key_of(invitation.bootstrap_key.encode()), invitation.bootstrap_certificate.encode()
    )
    csr = site_request(key, home.federation, "dogwood")
    request = EnrolRequest(csr=csr, version="1", invitation_id=invitation.id)
    with guest.channel() as channel:
        reply = EnrolmentStub(channel).Enrol(request, timeout=WAIT_S)
        with pytest.raises(grpc.RpcError) as again:
            EnrolmentStub(channel).Enrol(request, timeout=WAIT_S)
    assert again.value.details().startswith("invitation-used: ")
    assert told("enrolment.refused", code="invitation-used") and not told("link.refused", 0.0)
    assert reply.authority == home.authority.pem and reply.federation == home.federation
    assert reply.coordinator_key.decode() == invitation.coordinator_key
    site = alder.with_certificate(key, reply.certificate)
    with site.link() as link:
        renewed = link.Renew(RenewRequest(csr=csr), timeout=WAIT_S)
    for certificate in (reply.certificate, renewed.certificate):  # the old one is good until it expires
        assert alder.with_certificate(key, certificate).offset("d" * 64).offset == 0
    assert told("site.renewed", site="dogwood")


def test_too_many_attempts_to_enrol_are_refused(bootstrap: Hospital, bystander: Line, told: Told) -> None:
    codes = [bootstrap.attempt("Enrol").details().split(":")[0] for _ in range(6)]
    assert codes == ["invitation-invalid"] * 5 + ["enrolment-limited"]
    assert bootstrap.attempt("Enrol").code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert told("enrolment.refused", code="enrolment-limited")


def test_refusals_cannot_fill_the_log(bootstrap: Hospital, told: Told) -> None:
    with bootstrap.link() as link:
        for _ in range(60):
            with pytest.raises(grpc.RpcError):
                link.Renew(RenewRequest(), timeout=WAIT_S)
    assert 20 <= len(told("link.refused", code="certificate-refused")) <= 22


def test_a_defect_says_nothing_but_that_it_is_one(
    alder: Hospital,
    home: CoordinatorHome,
    monkeypatch: pytest.MonkeyPatch,
    told: Told,
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret = "/home/anna/Mueller^Anna"

    def broken(*given: object) -> None:
        raise RuntimeError(secret)

    monkeypatch.setattr(type(home.enrolment), "renew", broken)
    error = alder.attempt("Renew")
    assert error.code() is grpc.StatusCode.INTERNAL
    assert error.details().startswith("internal: ") and secret not in error.details()
    assert "RuntimeError in broken" in caplog.text and secret not in caplog.text


def test_only_who_is_known_can_be_revoked(server: LinkServer) -> None:
    with pytest.raises(SiteUninvited):
        server.revoke("nobody")


def test_the_port_must_be_free(running: tuple[LinkServer, int], serve: Any, home: CoordinatorHome) -> None:
    second = LinkServer(home)
    with pytest.raises(PortTaken):
        second.start(running[1])
    second.stop(0)
