"""Who shows no certificate, or one that is not good here, is not let in."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from client.link.identity import CERTIFICATE, KEY
from common.identity import Authority, key_of, key_pem, new_federation, new_tls_key, profile, site_request
from common.identity.names import coordinator_name
from common.link.link_pb2 import EnrolRequest
from common.link.link_pb2_grpc import EnrolmentStub
from tests.attacks.federation import COORDINATOR, Federation, Ward, told
from tests.integration.link.hospital import WAIT_S, Hospital, Line

OF_SITES = ("Session", "Renew", "FetchBlob", "BlobOffset", "StoreBlob")
ALL = ("Enrol", *OF_SITES)
HANDSHAKE = {"call": "handshake"}


def coded(error: grpc.RpcError) -> str:
    """The code that a caller is told."""
    return str(error.details()).partition(":")[0]


@pytest.fixture(scope="module")
def cedar(whole_federation: Federation) -> Hospital:
    """A site whose certificate is good, in the hands of an attacker."""
    return whole_federation.guest("cedar")


def stranger(cedar: Hospital, now: datetime) -> Hospital:
    """A site of the same name in another federation."""
    key, other = new_tls_key(), Authority.new(new_federation(), now)
    request = site_request(key, other.federation, "cedar")
    return cedar.with_certificate(key, other.site_certificate(request, "cedar", now))


def forged(cedar: Hospital, now: datetime) -> Hospital:
    """A certificate of an authority that calls itself as ours does."""
    key, federation = new_tls_key(), cedar.home.federation
    request = site_request(key, federation, "cedar")
    return cedar.with_certificate(key, Authority.new(federation, now).site_certificate(request, "cedar", now))


def expired(cedar: Hospital, now: datetime) -> Hospital:
    """A certificate of ours whose time is over."""
    key, authority = new_tls_key(), cedar.home.authority
    request = site_request(key, authority.federation, "cedar")
    old = authority.site_certificate(request, "cedar", now - timedelta(minutes=4), days=0)
    return cedar.with_certificate(key, old)


def elsewhere(cedar: Hospital, now: datetime) -> Hospital:
    """Signed with our authority's key, for a name outside of those that it may give."""
    key, authority = new_tls_key(), cedar.home.authority
    extensions = profile.leaf_extensions(
        new_federation(), "site", "cedar", key.public_key(), authority.key.public_key()
    )
    times = now - timedelta(minutes=1), now + timedelta(days=1)
    by = authority.certificate.subject, authority.key
    made = profile.signed(profile.common_name("cedar"), key.public_key(), extensions, times, by)
    return cedar.with_certificate(key, made.public_bytes(Encoding.PEM))


def coordinators_own(cedar: Hospital, now: datetime) -> Hospital:
    """The coordinator's certificate, which is for serving."""
    return cedar.with_certificate(cedar.home.tls_key, cedar.home.certificate())


@pytest.mark.parametrize("who", [stranger, forged, expired, elsewhere, coordinators_own])
def test_no_certificate_of_ours(
    who: Callable[[Hospital, datetime], Hospital], cedar: Hospital, federation: Federation
) -> None:
    outsider = who(cedar, federation.clock())
    with federation.refusing(COORDINATOR, "link.refused", "certificate-refused", **HANDSHAKE):
        for rpc in ALL:
            assert outsider.attempt(rpc).code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("secure", [True, False], ids=["no certificate", "plaintext"])
def test_no_certificate_and_no_tls(secure: bool, federation: Federation) -> None:
    address, authority = f"127.0.0.1:{federation.port}", federation.home.authority.pem
    name = ("grpc.ssl_target_name_override", coordinator_name(federation.home.federation))
    credentials = grpc.ssl_channel_credentials(authority)
    with (
        federation.refusing(COORDINATOR, "link.refused", "certificate-refused", **HANDSHAKE),
        grpc.secure_channel(address, credentials, options=[name])
        if secure
        else grpc.insecure_channel(address) as channel,
        pytest.raises(grpc.RpcError) as raised,
    ):
        EnrolmentStub(channel).Enrol(EnrolRequest(), timeout=WAIT_S)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


def test_tls_12(cedar: Hospital, federation: Federation, tmp_path: Path) -> None:
    """With a certificate that is good in every other way; the same one gets a handshake of TLS 1.3."""
    pair = tmp_path / "pair.pem"
    pair.write_bytes(key_pem(cedar.key) + cedar.certificate)

    def greeted(most: ssl.TLSVersion) -> bytes:
        context = ssl.create_default_context(cadata=federation.home.authority.pem.decode())
        context.maximum_version = most
        context.set_alpn_protocols(["h2"])
        context.load_cert_chain(pair)
        name = coordinator_name(federation.home.federation)
        with (
            socket.create_connection(("127.0.0.1", federation.port), timeout=WAIT_S) as plain,
            context.wrap_socket(plain, server_hostname=name) as secure,
        ):
            return secure.recv(9)  # what HTTP/2 begins with

    assert greeted(ssl.TLSVersion.TLSv1_3)
    with (
        federation.refusing(COORDINATOR, "link.refused", "certificate-refused", **HANDSHAKE),
        pytest.raises(ssl.SSLError),
    ):
        greeted(ssl.TLSVersion.TLSv1_2)


@pytest.mark.parametrize("rpc", OF_SITES)
def test_an_invitations_certificate_for_another_call(
    rpc: str, cedar: Hospital, federation: Federation
) -> None:
    invitation = federation.home.enrolment.invite("dogwood")
    holder = cedar.with_certificate(
        key_of(invitation.bootstrap_key.encode()), invitation.bootstrap_certificate.encode()
    )
    refused = {"call": rpc, "role": "invitation"}
    with federation.refusing(COORDINATOR, "link.refused", "certificate-refused", **refused):
        error = holder.attempt(rpc)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED and coded(error) == "certificate-refused"


def test_a_sites_certificate_for_enrolment(cedar: Hospital, federation: Federation) -> None:
    refused = {"role": "site", "name": "cedar"}
    with federation.refusing(COORDINATOR, "enrolment.refused", "certificate-refused", **refused):
        assert coded(cedar.attempt("Enrol")) == "certificate-refused"


@pytest.mark.parametrize("rpc", OF_SITES)
def test_a_certificate_that_was_never_given_out(rpc: str, cedar: Hospital, federation: Federation) -> None:
    """Whoever has the authority's key can make one; it is not among those that were given."""
    key, authority = new_tls_key(), federation.home.authority
    request = site_request(key, authority.federation, "cedar")
    made = authority.site_certificate(request, "cedar", federation.clock())
    with federation.refusing(COORDINATOR, "link.refused", "certificate-refused", call=rpc, site="cedar"):
        assert coded(cedar.with_certificate(key, made).attempt(rpc)) == "certificate-refused"


@pytest.mark.parametrize("rpc", OF_SITES)
def test_a_certificate_that_expired_by_the_coordinators_clock(
    rpc: str, cedar: Hospital, federation: Federation
) -> None:
    """gRPC has the machine's clock and lets it pass; the coordinator looks again."""
    day = timedelta(days=1)
    key, authority, now = new_tls_key(), federation.home.authority, federation.clock()
    request = site_request(key, authority.federation, "cedar")
    short = authority.site_certificate(request, "cedar", now, days=1)
    with federation.refusing(COORDINATOR, "link.refused", "certificate-expired", call=rpc):
        federation.clock.ahead = day
        assert coded(cedar.with_certificate(key, short).attempt(rpc)) == "certificate-expired"
        federation.clock.ahead -= day


def test_a_site_that_is_revoked(federation: Federation) -> None:
    """Its session ends within a second, and no call is answered any more."""
    fir = federation.guest("fir")
    with (
        fir.session() as line,
        federation.refusing(COORDINATOR, "link.disconnected", "site-revoked", site="fir"),
    ):
        assert federation.server.revoke("fir")
        assert told(line, "goodbye", 1.0).code == "site-revoked"
    for rpc in OF_SITES:
        with federation.refusing(COORDINATOR, "link.refused", "site-revoked", call=rpc, site="fir"):
            assert coded(fir.attempt(rpc)) == "site-revoked"


def test_a_copied_key(alder: Ward, federation: Federation) -> None:
    """Whoever has a copy of a site's key is not let in beside it, and the coordinator is told."""
    pem, certificate = ((alder.home.folder / "link" / name).read_bytes() for name in (KEY, CERTIFICATE))
    node = federation.node("alder")
    thief = Hospital("alder", node, key_of(pem), certificate, federation.home, federation.port)
    with (
        federation.refusing(COORDINATOR, "link.refused", "site-connected-twice", site="alder"),
        thief.calling() as line,
    ):
        line.say(hello=thief.hello())
        assert told(line, "goodbye").code == "site-connected-twice"


def test_more_calls_than_a_site_makes(cedar: Hospital, federation: Federation) -> None:
    with (
        federation.refusing(COORDINATOR, "link.refused", "site-connected-twice", site="cedar"),
        cedar.link() as link,
    ):
        ends = [line.over() for line in [Line(link) for _ in range(17)]]
        refused = [end for end in ends if end is not None]
    assert [coded(end) for end in refused] == ["site-connected-twice"]
