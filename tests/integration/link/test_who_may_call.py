"""Certificates that are none, another's, or none any more: refused, audited, and nobody else's harm."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from common.errors import PortTaken, SiteUninvited
from common.identity.authority import Authority, site_request
from common.identity.keys import key_of, key_pem, new_tls_key
from common.identity.names import coordinator_name, new_federation
from common.link.link_pb2 import EnrolRequest, Heartbeat, RenewRequest
from common.link.link_pb2_grpc import EnrolmentStub
from server.link.home import CoordinatorHome
from server.link.server import LinkServer
from tests.integration.link.hospital import WAIT_S, Clock, Hospital, Line

Told = Callable[..., list[dict[str, Any]]]
OF_SITES = ("Session", "Renew", "FetchBlob", "BlobOffset", "StoreBlob")
ALL = ("Enrol", *OF_SITES)


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


@pytest.fixture
def outsiders(alder: Hospital, home: CoordinatorHome, clock: Clock) -> dict[str, Hospital]:
    """Those whom TLS itself keeps out."""
    key, now = new_tls_key(), clock()
    csr = site_request(key, home.federation, "alder")
    other = Authority.new(home.federation, now).site_certificate(csr, "alder", now)
    stranger = Authority.new(new_federation(), now)
    elsewhere = site_request(key, stranger.federation, "alder")
    old = home.authority.site_certificate(csr, "alder", now - timedelta(minutes=4), days=0)
    return {
        "another authority of the same name": alder.with_certificate(key, other),
        "another federation": alder.with_certificate(key, stranger.site_certificate(elsewhere, "alder", now)),
        "expired": alder.with_certificate(key, old),
    }


@pytest.mark.parametrize("rpc", OF_SITES)
def test_an_invitation_admits_to_nothing_but_enrolment(
    rpc: str, bootstrap: Hospital, bystander: Line, told: Told
) -> None:
    error = bootstrap.attempt(rpc)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert error.details().startswith("certificate-refused: ")
    [entry] = told("link.refused", call=rpc)
    assert (entry["code"], entry["role"]) == ("certificate-refused", "invitation")


def test_a_sites_certificate_enrols_nobody(alder: Hospital, bystander: Line, told: Told) -> None:
    error = alder.attempt("Enrol")
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert error.details().startswith("certificate-refused: ")
    assert told("enrolment.refused", code="certificate-refused", role="site", name="alder")


@pytest.mark.parametrize("rpc", OF_SITES)
def test_a_revoked_site_is_refused(
    rpc: str, alder: Hospital, server: LinkServer, bystander: Line, told: Told
) -> None:
    assert server.revoke("alder")
    error = alder.attempt(rpc)
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert error.details().startswith("site-revoked: ")
    assert told("link.refused", call=rpc, code="site-revoked", site="alder", role="site")


@pytest.mark.parametrize("rpc", OF_SITES)
def test_a_certificate_that_was_never_given_out_is_refused(
    rpc: str, alder: Hospital, home: CoordinatorHome, clock: Clock, bystander: Line, told: Told
) -> None:
    key = new_tls_key()
    made = home.authority.site_certificate(site_request(key, home.federation, "alder"), "alder", clock())
    error = alder.with_certificate(key, made).attempt(rpc)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert error.details().startswith("certificate-refused: ")
    assert told("link.refused", call=rpc, code="certificate-refused", site="alder")


@pytest.mark.parametrize("rpc", ALL)
def test_a_certificate_that_expired_by_the_coordinators_clock_is_refused(
    rpc: str, alder: Hospital, clock: Clock, told: Told
) -> None:
    clock.ahead = timedelta(days=31)
    error = alder.attempt(rpc)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert error.details().startswith("certificate-expired: ")
    assert told("link.refused", call=rpc, code="certificate-expired")


@pytest.mark.parametrize("who", ["another authority of the same name", "another federation", "expired"])
def test_tls_keeps_outsiders_out_and_the_log_tells(
    who: str, outsiders: dict[str, Hospital], bystander: Line, told: Told
) -> None:
    for rpc in ALL:
        assert outsiders[who].attempt(rpc).code() is grpc.StatusCode.UNAVAILABLE
    assert told("link.refused", call="handshake", code="certificate-refused")


@pytest.mark.parametrize("secure", [True, False], ids=["no certificate", "plain text"])
def test_who_shows_no_certificate_is_kept_out_and_the_log_tells(
    secure: bool, home: CoordinatorHome, running: tuple[LinkServer, int], bystander: Line, told: Told
) -> None:
    address = f"127.0.0.1:{running[1]}"
    name = ("grpc.ssl_target_name_override", f"coordinator.{home.federation}.consilium.internal")
    credentials = grpc.ssl_channel_credentials(home.authority.pem)
    opened = (
        grpc.secure_channel(address, credentials, options=[name])
        if secure
        else grpc.insecure_channel(address)
    )
    with opened as channel, pytest.raises(grpc.RpcError) as raised:
        EnrolmentStub(channel).Enrol(EnrolRequest(), timeout=WAIT_S)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert told("link.refused", call="handshake", code="certificate-refused")


def test_an_older_tls_is_refused_and_the_log_tells(
    alder: Hospital, home: CoordinatorHome, tmp_path: Path, bystander: Line, told: Told
) -> None:
    """Also with a certificate that is good in every other way."""
    for name, pem in (("key", key_pem(alder.key)), ("certificate", alder.certificate)):
        (tmp_path / name).write_bytes(pem)
    for version, taken in ((ssl.TLSVersion.TLSv1_2, False), (ssl.TLSVersion.TLSv1_3, True)):
        context = ssl.create_default_context(cadata=home.authority.pem.decode())
        context.maximum_version = version
        context.set_alpn_protocols(["h2"])
        context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
        with socket.create_connection(("127.0.0.1", alder.port)) as plain:
            try:
                with context.wrap_socket(plain, server_hostname=coordinator_name(home.federation)) as secure:
                    assert taken and secure.version() == "TLSv1.3"
            except ssl.SSLError:
                assert not taken
        assert told("link.refused", call="handshake", code="certificate-refused")


def test_handshakes_that_lead_to_calls_are_not_told_of(alder: Hospital, told: Told) -> None:
    for _ in range(3):
        alder.offset("d" * 64)
    with alder.session():
        assert told("link.refused", 0.8) == []


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


def test_one_site_makes_only_so_many_calls_at_a_time(alder: Hospital, bystander: Line, told: Told) -> None:
    with alder.link() as link:
        lines = [Line(link) for _ in range(17)]
        ends = [line.over(WAIT_S) for line in lines]
        assert sum(error is not None for error in ends) == 1
    assert told("link.refused", code="site-connected-twice", site="alder")


def test_the_port_must_be_free(running: tuple[LinkServer, int], serve: Any, home: CoordinatorHome) -> None:
    second = LinkServer(home)
    with pytest.raises(PortTaken):
        second.start(running[1])
    second.stop(0)
