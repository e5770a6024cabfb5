"""A coordinator behind nginx: the configuration in docs/network.md, word for word, under the real program."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from client.link import SiteIdentity, Target, Timing, enrol, error_of, probe
from common.identity import Authority, coordinator_name, key_pem, new_tls_key
from tests.integration.network.conftest import Connected, Federation
from tests.integration.network.nginx import MODULE, PROGRAM, Nginx, running
from tests.integration.site_link.conftest import QUICK, Recorder
from tests.integration.site_link.scripted import now, until
from tests.integration.site_link.wires import accepting, tls_server

SILENT = Timing(heartbeat_s=600.0, resend_s=600.0, renewal_s=600.0)
"""A session on which only the keep-alive of the connection moves anything."""


class Running(Protocol):
    """``running(**changes)``: nginx before the coordinator and a web site."""

    def __call__(self, **changes: tuple[str, str]) -> AbstractContextManager[Nginx]: ...


@pytest.fixture(scope="module", autouse=True)
def _parts() -> None:
    if PROGRAM and MODULE.exists():
        return
    text = "needs nginx with its stream module (tests/debian.txt)"
    if os.environ.get("CONSILIUM_REQUIRE_PARTS") == "1":
        pytest.fail(text)
    pytest.skip(text)


@pytest.fixture(scope="module")
def certificate() -> tuple[bytes, bytes]:
    """Of the web site that shares the port: another authority's. The certificate and its key."""
    key = new_tls_key()
    return Authority.new("0123456789ab", now()).coordinator_certificate(key.public_key(), now()), key_pem(key)


@pytest.fixture
def website(certificate: tuple[bytes, bytes], tmp_path: Path) -> Iterator[int]:
    with accepting(tls_server(*certificate, tmp_path / "website")) as port:
        yield port


@pytest.fixture
def before(federation: Federation, website: int, tmp_path: Path) -> Running:
    """See :class:`Running`."""
    return partial(running, tmp_path, federation.port, website)


def enrolled(federation: Federation, port: int, folder: Path) -> SiteIdentity:
    return enrol(folder / "link", federation.invitation(port), now())


def ended(stream: socket.socket) -> bool:
    """Whether the other end closes before it says a word."""
    stream.settimeout(10)
    try:
        return stream.recv(1) == b""
    except ssl.SSLError:  # an alert, if it came before the end
        return True


def target(federation: Federation, port: int) -> Target:
    return Target(f"127.0.0.1:{port}", federation.home.federation, federation.home.authority.pem)


def test_a_site_works_through_nginx(
    federation: Federation, before: Running, connected: Connected, recorder: Recorder, tmp_path: Path
) -> None:
    with before() as nginx:
        site = enrolled(federation, nginx.port, tmp_path)
        with connected(site) as client:
            sent, got = federation.asked(client, recorder)
        assert got["about"] == {"round": 1} and got != sent
        until(lambda: len(nginx.lines()) == 3)  # the look whether it listens, enrolment, session
    name = coordinator_name(federation.home.federation)
    assert [name in line for line in nginx.lines()] == [False, True, True]
    sizes = [int(word) for word in nginx.lines()[-1].split() if word.isdigit() and len(word) > 6]
    assert len(sizes) == 2 and min(sizes) > 8_000_000
    assert federation.events("link.connected") == ["alder"]
    assert not federation.events("link.refused")


def test_the_coordinator_asks_for_the_certificate(federation: Federation, before: Running) -> None:
    """TLS begins at the site and ends at the coordinator: nginx has no certificate that it could show."""
    with before() as nginx:
        findings = probe(target(federation, nginx.port), now())
        assert error_of(findings) is None and "TLSv1.3" in findings[-1].said
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=federation.home.authority.pem.decode())
        with (
            socket.create_connection(("127.0.0.1", nginx.port)) as stream,
            context.wrap_socket(stream, server_hostname=coordinator_name(federation.home.federation)) as tls,
        ):
            assert ended(tls)


def test_the_web_site_keeps_its_port(before: Running, certificate: tuple[bytes, bytes]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    shown = x509.load_pem_x509_certificate(certificate[0]).public_bytes(Encoding.DER)
    with before() as nginx:
        for name in ("www.example.org", None):
            with (
                socket.create_connection(("127.0.0.1", nginx.port)) as stream,
                context.wrap_socket(stream, server_hostname=name) as tls,
            ):
                assert tls.getpeercert(binary_form=True) == shown


def test_a_coordinator_that_is_away_is_not_taken_for_the_web_site(
    federation: Federation, before: Running
) -> None:
    federation.server.stop(0.2)
    with before() as nginx:
        error = error_of(probe(target(federation, nginx.port), now()))
    assert error is not None and error.code == "coordinator-unreachable"


def test_all_who_enrol_come_from_nginx(federation: Federation, before: Running, tmp_path: Path) -> None:
    bind = ("proxy_pass $behind;", "proxy_pass $behind; proxy_bind 127.0.0.9;")
    with before(bind=bind) as nginx:
        enrolled(federation, nginx.port, tmp_path)
    assert [peer.rpartition(":")[0] for peer in federation.peers] == ["ipv4:127.0.0.9"]


def test_the_proxy_protocol_is_not_spoken(federation: Federation, before: Running) -> None:
    told = ("proxy_pass $behind;", "proxy_pass $behind; proxy_protocol on;")
    with before(told=told) as nginx:
        error = error_of(probe(target(federation, nginx.port), now()))
    assert error is not None


def test_a_time_limit_below_the_keep_alive_cuts_sessions(
    federation: Federation, before: Running, connected: Connected, recorder: Recorder, tmp_path: Path
) -> None:
    with before(limit=("proxy_timeout 10m;", "proxy_timeout 1s;")) as nginx:
        site = enrolled(federation, nginx.port, tmp_path)
        with connected(site, SILENT):
            recorder.wait(lambda: recorder.codes("disconnected"))
    assert recorder.codes("disconnected")[0] == "coordinator-unreachable"


@pytest.mark.slow
def test_a_time_limit_above_the_keep_alive_does_not(
    federation: Federation, before: Running, connected: Connected, recorder: Recorder, tmp_path: Path
) -> None:
    with before(limit=("proxy_timeout 10m;", "proxy_timeout 15s;")) as nginx:
        site = enrolled(federation, nginx.port, tmp_path)
        with connected(site, SILENT):
            time.sleep(20)
            assert recorder.is_in()
        assert QUICK.heartbeat_s < SILENT.heartbeat_s
    assert not recorder.codes("disconnected")
    assert federation.events("link.connected") == ["alder"]
