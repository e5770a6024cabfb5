"""Certificates in gRPC's own TLS, which judges by itself before any code of Consilium is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from cryptography import x509

from common.identity import (
    Authority,
    coordinator_name,
    identity_of,
    key_pem,
    new_tls_key,
    site_request,
)
from common.identity.profile import common_name

Forge = Callable[..., bytes]

FEDERATION = "0123456789ab"
NOW = datetime.now(UTC)  # gRPC takes the time from nowhere else


@dataclass(frozen=True, slots=True)
class Party:
    """A key and what it shows of itself, in PEM."""

    key: bytes
    chain: bytes


@pytest.fixture(scope="module")
def today() -> Authority:
    """An authority whose certificates are valid while the test runs."""
    return Authority.new(FEDERATION, NOW)


@pytest.fixture(scope="module")
def coordinator(today: Authority) -> Party:
    key = new_tls_key()
    return Party(key_pem(key), today.coordinator_certificate(key.public_key(), NOW))


def _site(authority: Authority, days: int = 30, issued: datetime = NOW) -> Party:
    key = new_tls_key()
    request = site_request(key, authority.federation, "alder")
    return Party(key_pem(key), authority.site_certificate(request, "alder", issued, days))


def _who(request: bytes, context: grpc.ServicerContext) -> bytes:
    shown: bytes = context.auth_context()["x509_pem_cert"][0]
    return shown


@contextmanager
def _serving(party: Party, authority: bytes) -> Iterator[int]:
    """The port of a coordinator that asks everybody for a certificate and says which it was shown."""
    server = grpc.server(ThreadPoolExecutor(1))
    handler = grpc.unary_unary_rpc_method_handler(_who)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Who": handler}),))
    pair = [(party.key, party.chain)]
    credentials = grpc.ssl_server_credentials(pair, authority, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


def _asked(port: int, party: Party, authority: bytes, name: str = coordinator_name(FEDERATION)) -> bytes:
    """The certificate that the coordinator saw."""
    credentials = grpc.ssl_channel_credentials(authority, party.key, party.chain)
    options = [("grpc.ssl_target_name_override", name), ("grpc.enable_http_proxy", 0)]
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        answer = channel.unary_unary("/test/Who")(b"", timeout=10)
    assert isinstance(answer, bytes)
    return answer


def _is_refused(port: int, party: Party, authority: bytes, name: str = coordinator_name(FEDERATION)) -> bool:
    try:
        _asked(port, party, authority, name)
    except grpc.RpcError as error:
        assert isinstance(error, grpc.Call)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        return True
    return False


def test_both_sides_accept_each_other_under_the_name_and_not_the_address(
    today: Authority, coordinator: Party
) -> None:
    site = _site(today)
    with _serving(coordinator, today.pem) as port:
        shown = _asked(port, site, today.pem)
        assert _is_refused(port, site, today.pem, name="127.0.0.1")
        assert _is_refused(port, site, today.pem, name=coordinator_name("ba9876543210"))
    assert identity_of(shown, today.pem, NOW).name == "alder"
    assert identity_of(shown, today.pem, NOW) == identity_of(site.chain, today.pem, NOW)


def test_an_invitations_certificate_connects_and_is_told_apart(today: Authority, coordinator: Party) -> None:
    key, certificate = today.bootstrap("f" * 32, NOW, hours=1)
    with _serving(coordinator, today.pem) as port:
        shown = _asked(port, Party(key, certificate), today.pem)
    assert identity_of(shown, today.pem, NOW).role == "invitation"


def test_a_site_of_another_authority_is_refused(today: Authority, coordinator: Party) -> None:
    with _serving(coordinator, today.pem) as port:
        for federation in (FEDERATION, "ba9876543210"):
            assert _is_refused(port, _site(Authority.new(federation, NOW)), today.pem)
        assert not _is_refused(port, _site(today), today.pem)


def test_a_coordinator_of_another_authority_is_refused(today: Authority) -> None:
    other, key = Authority.new(FEDERATION, NOW), new_tls_key()
    false = Party(key_pem(key), other.coordinator_certificate(key.public_key(), NOW))
    with _serving(false, today.pem) as port:
        assert _is_refused(port, _site(today), today.pem)


def test_a_site_cannot_play_the_coordinator(today: Authority) -> None:
    with _serving(_site(today), today.pem) as port:
        for name in (coordinator_name(FEDERATION), f"alder.sites.{FEDERATION}.consilium.internal"):
            assert _is_refused(port, _site(today), today.pem, name)


def test_an_expired_certificate_is_refused(today: Authority, coordinator: Party) -> None:
    past = Authority.new(FEDERATION, NOW - timedelta(days=60))
    key = new_tls_key()
    old = Party(key_pem(key), past.coordinator_certificate(key.public_key(), NOW))
    with _serving(old, past.pem) as port:
        assert not _is_refused(port, _site(past), past.pem)
        assert _is_refused(port, _site(past, 30, NOW - timedelta(days=40)), past.pem)


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        (coordinator_name(FEDERATION), False),
        ("alder.example.com", True),
        (coordinator_name("ba9876543210"), True),
    ],
)
def test_even_the_authoritys_own_key_is_good_for_no_name_outside_its_domain(
    today: Authority, forger: Callable[[Authority], Forge], name: str, refused: bool
) -> None:
    key = new_tls_key()
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    chain = forger(today)("coordinator", "coordinator", public=key.public_key(), changed=((names, False),))
    with _serving(Party(key_pem(key), chain), today.pem) as port:
        assert _is_refused(port, _site(today), today.pem, name) == refused


def test_a_leaf_signs_no_other_leaf(
    today: Authority, coordinator: Party, forger: Callable[[Authority], Forge]
) -> None:
    forge, first, second = forger(today), new_tls_key(), new_tls_key()
    parent = forge(public=first.public_key())
    by_parent = x509.AuthorityKeyIdentifier.from_issuer_public_key(first.public_key())
    child = forge(
        "site",
        "birch",
        public=second.public_key(),
        issuer=common_name("alder"),
        key=first,
        changed=((by_parent, False),),
    )
    with _serving(coordinator, today.pem) as port:
        assert not _is_refused(port, Party(key_pem(first), parent), today.pem)
        assert _is_refused(port, Party(key_pem(second), child + parent), today.pem)
