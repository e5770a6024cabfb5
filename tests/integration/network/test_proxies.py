"""Hospitals behind an HTTP proxy: enrolment, session and weights through it, as docs/network.md says."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.link import enrol
from client.link.identity import CERTIFICATE, COORDINATOR
from common.errors import CoordinatorUnreachable
from common.identity import Authority, key_pem, new_tls_key
from tests.integration.network.conftest import Connected, Federation
from tests.integration.site_link.conftest import Recorder
from tests.integration.site_link.scripted import now
from tests.integration.site_link.wires import Wire, accepting, tls_server
from tests.integration.transport.wires import Proxy

PASSWORD = "alder:p@ss:w/rd"
SPELLED = "alder:p%40ss%3Aw%2Frd"


@pytest.fixture
def inspecting(gateway: int) -> Iterator[int]:
    """A proxy that leads each connection to a gateway, wherever it was meant to go."""

    def serve(stream: socket.socket) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += stream.recv(1) or b"\r\n\r\n"
        stream.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        Wire(gateway).serve(stream)

    with accepting(serve) as port:
        yield port


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy that wants a name and a password."""
    with Proxy(PASSWORD) as listening:
        yield listening


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[int]:
    """What opens TLS: another authority's certificate answers."""
    key = new_tls_key()
    certificate = Authority.new("0123456789ab", now()).coordinator_certificate(key.public_key(), now())
    with accepting(tls_server(certificate, key_pem(key), tmp_path / "gateway")) as port:
        yield port


def test_a_site_works_through_a_proxy_with_a_password(
    federation: Federation, proxy: Proxy, connected: Connected, recorder: Recorder, tmp_path: Path
) -> None:
    through = f"http://{SPELLED}@127.0.0.1:{proxy.port}"
    site = enrol(tmp_path / "link", federation.invitation(federation.port), now(), proxy=through)
    with connected(site) as client:
        sent, got = federation.asked(client, recorder)
    assert got["about"] == {"round": 1} and got != sent
    assert proxy.asked == 2 * [f"CONNECT 127.0.0.1:{federation.port} HTTP/1.1"]
    assert federation.events("link.connected") == ["alder"]


def test_a_wrong_password(federation: Federation, proxy: Proxy, tmp_path: Path) -> None:
    through = f"http://alder:wrong@127.0.0.1:{proxy.port}"
    with pytest.raises(CoordinatorUnreachable):
        enrol(tmp_path / "link", federation.invitation(federation.port), now(), proxy=through, timeout_s=5.0)
    assert not (tmp_path / "link" / CERTIFICATE).exists()
    assert not federation.peers


def test_another_proxy_later(
    federation: Federation, proxy: Proxy, connected: Connected, recorder: Recorder, tmp_path: Path
) -> None:
    """What ``link/coordinator.json`` says counts from the next start on."""
    site = enrol(tmp_path / "link", federation.invitation(federation.port), now())
    assert not proxy.asked
    path = site.folder / COORDINATOR
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "proxy": f"http://{SPELLED}@127.0.0.1:{proxy.port}"}))
    with connected(site):
        assert recorder.is_in()
    assert proxy.asked == [f"CONNECT 127.0.0.1:{federation.port} HTTP/1.1"]


@pytest.mark.parametrize(
    ("name", "value", "asked"),
    [
        ("no_proxy", "127.0.0.1", 0),
        ("no_proxy", "127.0.0.0/8", 0),
        ("no_proxy", "elsewhere.example", 1),
        ("NO_PROXY", "127.0.0.1", 1),
        ("https_proxy", "http://127.0.0.1:1", 1),
    ],
)
def test_the_environment_takes_a_proxy_away_and_gives_none(
    federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, asked: int
) -> None:
    monkeypatch.setenv(name, value)
    with Proxy() as proxy:
        through = f"http://127.0.0.1:{proxy.port}"
        enrol(tmp_path / "a", federation.invitation(federation.port, "alder"), now(), proxy=through)
        assert len(proxy.asked) == asked
        enrol(tmp_path / "b", federation.invitation(federation.port, "birch"), now())
        assert len(proxy.asked) == asked


def test_a_proxy_that_opens_tls_is_named(
    federation: Federation, inspecting: int, connected: Connected, recorder: Recorder, tmp_path: Path
) -> None:
    site = enrol(tmp_path / "link", federation.invitation(federation.port), now())
    path = site.folder / COORDINATOR
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "proxy": f"http://127.0.0.1:{inspecting}"}))
    with connected(site, wait=False):
        recorder.wait(lambda: recorder.codes("refused"))
    assert recorder.codes("refused")[0] == "tls-intercepted"
    assert not federation.events("link.connected")
