"""What is said of a coordinator that cannot be reached: our own words, and the one that failed first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.link.failures import printable, told
from client.link.hello import Greeting, skew_of
from client.link.probe import Finding, error_of
from client.link.route import Place, place_of, proxy_of
from common.errors import (
    ClockSkewed,
    ConsiliumError,
    CoordinatorUnreachable,
    ProtocolMismatch,
    SiteRevoked,
    TlsIntercepted,
    TrustError,
)
from common.link import PROTOCOL
from common.link.link_pb2 import FromCoordinator, Goodbye, Heartbeat, Welcome


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("coordinator.example:443", Place("coordinator.example", 443)),
        ("127.0.0.1:1", Place("127.0.0.1", 1)),
        ("[::1]:65535", Place("::1", 65535)),
    ],
)
def test_addresses(address: str, place: Place) -> None:
    assert place_of(address) == place
    assert str(place) == address


@pytest.mark.parametrize(
    "address", ["", "host", "host:", ":1", "host:0", "host:65536", "host:-1", "host:\u0661"]
)
def test_no_addresses(address: str) -> None:
    with pytest.raises(CoordinatorUnreachable) as caught:
        place_of(address)
    assert "host:port" in caught.value.hint


def test_proxies() -> None:
    proxy = proxy_of("http://al%40der:s3%3Acret@proxy.example:8080")
    assert (proxy.place, proxy.credentials) == (Place("proxy.example", 8080), "al@der:s3:cret")
    assert proxy_of("http://proxy.example:3128").credentials == ""


@pytest.mark.parametrize(
    "url",
    ["", "proxy:3128", "https://p:1", "http://p", "http://:s3cret@:1", "http://s3cret@p:99999"],
)
def test_no_proxies(url: str) -> None:
    with pytest.raises(CoordinatorUnreachable) as caught:
        proxy_of(url)
    assert "s3cret" not in caught.value.private


def test_the_first_step_that_failed_counts() -> None:
    fine = Finding("name", "it is known")
    tls = Finding("tls", "the gateway answers", TlsIntercepted("CN=Gateway"))
    later = Finding("session", "no", SiteRevoked())
    assert (fine.ok, fine.code, fine.remedy) == (True, "", "")
    assert (tls.ok, tls.code, tls.remedy) == (False, "tls-intercepted", TlsIntercepted.hint)
    assert error_of((fine, tls, later)) is tls.error
    assert error_of((fine,)) is None


@given(st.text(max_size=60))
def test_only_codes_of_this_tree_are_believed(code: str) -> None:
    error = told(code)
    assert error is None or error.code == code


def test_codes_that_are_known() -> None:
    assert isinstance(told("site-revoked"), SiteRevoked)
    assert told("disk-full") is None  # the coordinator's own trouble
    assert told("internal") is None


@given(st.text())
def test_what_others_say_is_fit_for_a_terminal(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) <= 300


def welcome(time_ms: int = 0, protocol: int = PROTOCOL) -> FromCoordinator:
    return FromCoordinator(welcome=Welcome(protocol=protocol, time_ms=time_ms))


@given(st.integers(-(10**12), 10**12))
def test_five_minutes_between_the_clocks_are_borne(ahead_ms: int) -> None:
    now_ms = 2 * 10**12
    if abs(ahead_ms) <= 300_000:
        assert skew_of(welcome(now_ms + ahead_ms), now_ms) == ahead_ms
    else:
        with pytest.raises(ClockSkewed):
            skew_of(welcome(now_ms + ahead_ms), now_ms)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (welcome(protocol=PROTOCOL + 1), ProtocolMismatch),
        (FromCoordinator(), CoordinatorUnreachable),
        (FromCoordinator(heartbeat=Heartbeat()), CoordinatorUnreachable),
        (FromCoordinator(goodbye=Goodbye(code="site-revoked", public="x")), SiteRevoked),
        (FromCoordinator(goodbye=Goodbye(code="home-busy", public="x")), CoordinatorUnreachable),
        (FromCoordinator(goodbye=Goodbye()), CoordinatorUnreachable),
    ],
)
def test_answers_that_let_nobody_in(answer: FromCoordinator, error: type[TrustError]) -> None:
    with pytest.raises(error) as caught:
        skew_of(answer, 0)
    assert isinstance(caught.value, ConsiliumError)
    assert (caught.value.public, caught.value.hint) == (error.public, error.hint)


def test_a_greeting_says_what_the_site_is() -> None:
    hello = Greeting("1.2.3", "c0de", {"gpu": "1"}).hello("5e55", 77, ("t1", "t2"))
    assert (hello.protocol, hello.version, hello.code_digest) == (PROTOCOL, "1.2.3", "c0de")
    assert (hello.session_id, hello.time_ms, list(hello.holding)) == ("5e55", 77, ["t1", "t2"])
    assert dict(hello.capabilities) == {"gpu": "1"}
