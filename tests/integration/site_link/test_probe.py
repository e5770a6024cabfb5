"""The probe: each thing that can be in the way is found, named, and comes with what to do about it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from client.link import Finding, SiteIdentity, Target, error_of, probe
from common.identity import Authority, coordinator_name, key_pem, new_tls_key, site_request
from tests.integration.site_link.scripted import Coordinator, now
from tests.integration.site_link.wires import Proxy, accepting, tls_server

TIMEOUT_S = 1.0


@pytest.fixture
def target(coordinator: Coordinator) -> Target:
    """Where the coordinator is."""
    return Target(coordinator.address, coordinator.federation, coordinator.authority.pem)


def failed(target: Target, serve: Callable[[socket.socket], None] | None = None) -> Finding:
    """The step that failed, with somebody else at the address if one is given."""
    if serve is None:
        findings = probe(target, now(), TIMEOUT_S)
    else:
        with accepting(serve) as port:
            findings = probe(replace(target, address=f"127.0.0.1:{port}"), now(), TIMEOUT_S)
    assert all(finding.ok and not finding.remedy for finding in findings[:-1])
    assert findings[-1].error is error_of(findings)
    assert not findings[-1].ok
    assert findings[-1].remedy
    return findings[-1]


def test_nothing_is_in_the_way(coordinator: Coordinator, site: SiteIdentity, target: Target) -> None:
    findings = probe(Target.of(site), now())
    assert [finding.step for finding in findings] == ["certificate", "name", "port", "tls"]
    assert error_of(findings) is None
    assert "TLSv1.3" in findings[-1].said
    assert probe(Target.of_invitation(coordinator.invitation()), now()) == probe(target, now())


def test_an_unknown_host(target: Target) -> None:
    finding = failed(replace(target, address="coordinator.invalid:443"))
    assert (finding.step, finding.code) == ("name", "coordinator-unreachable")
    assert "coordinator.invalid" in finding.said
    assert "spelling" in finding.remedy


def test_a_closed_port(target: Target) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    finding = failed(replace(target, address=f"127.0.0.1:{port}"))
    assert (finding.step, finding.code) == ("port", "coordinator-unreachable")
    assert f"127.0.0.1:{port}" in finding.said
    assert "running" in finding.remedy


def test_a_firewall_that_swallows(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    def silence(*arguments: object, **options: object) -> socket.socket:
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", silence)
    finding = failed(target)
    assert finding.step == "port"
    assert "network team" in finding.remedy


def gateway(federation: str, folder: Path) -> Callable[[socket.socket], None]:
    """A hospital's gateway that opens TLS: the right name under its own authority."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "General Hospital Web Gateway\x1b[2J")])
    names = x509.SubjectAlternativeName([x509.DNSName(coordinator_name(federation))])
    key = new_tls_key()
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now() - timedelta(days=1))
        .not_valid_after(now() + timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, SHA256())
    )
    return tls_server(pem(certificate), key_pem(key), folder)


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def test_tls_that_is_opened_on_the_way(target: Target, tmp_path: Path) -> None:
    finding = failed(target, gateway(target.federation, tmp_path))
    assert (finding.step, finding.code) == ("tls", "tls-intercepted")
    assert "CN=General Hospital Web Gateway" in finding.said
    assert finding.said.isprintable()
    assert "network team" in finding.remedy


def test_tls_that_is_opened_behind_a_proxy(target: Target, tmp_path: Path) -> None:
    with accepting(gateway(target.federation, tmp_path)) as port, accepting(Proxy().serve) as proxy:
        url = f"http://127.0.0.1:{proxy}"
        findings = probe(replace(target, address=f"127.0.0.1:{port}", proxy=url), now(), TIMEOUT_S)
    assert [finding.step for finding in findings] == ["name", "port", "proxy", "tls"]
    assert "General Hospital" in findings[-1].said


def served(target: Target, folder: Path, certificate: bytes, key: bytes, most: ssl.TLSVersion) -> Finding:
    return failed(target, tls_server(certificate, key, folder, most))


def test_another_authority_of_the_same_name(target: Target, tmp_path: Path) -> None:
    key, other = new_tls_key(), Authority.new(target.federation, now())
    certificate = other.coordinator_certificate(key.public_key(), now())
    finding = served(target, tmp_path, certificate, key_pem(key), ssl.TLSVersion.TLSv1_3)
    assert finding.code == "tls-intercepted"


def test_an_older_tls(target: Target, coordinator: Coordinator, tmp_path: Path) -> None:
    key = new_tls_key()
    certificate = coordinator.authority.coordinator_certificate(key.public_key(), now())
    finding = served(target, tmp_path, certificate, key_pem(key), ssl.TLSVersion.TLSv1_2)
    assert finding.code == "tls-intercepted"
    assert "older than 1.3" in finding.said


@pytest.mark.parametrize(("days", "code"), [(2, "clock-skewed"), (-95, "certificate-expired")])
def test_a_wrong_clock(
    days: int, code: str, target: Target, coordinator: Coordinator, tmp_path: Path
) -> None:
    key, then = new_tls_key(), now() + timedelta(days=days)
    certificate = coordinator.authority.coordinator_certificate(key.public_key(), then)
    finding = served(target, tmp_path, certificate, key_pem(key), ssl.TLSVersion.TLSv1_3)
    assert finding.code == code
    assert "clock" in finding.remedy


def test_a_site_in_the_coordinators_place(target: Target, coordinator: Coordinator, tmp_path: Path) -> None:
    key = new_tls_key()
    request = site_request(key, target.federation, "birch")
    certificate = coordinator.authority.site_certificate(request, "birch", now())
    finding = served(target, tmp_path, certificate, key_pem(key), ssl.TLSVersion.TLSv1_3)
    assert finding.code == "certificate-refused"


def greets(stream: socket.socket) -> None:
    with suppress(OSError):
        stream.sendall(b"220 mail.example ESMTP\r\n")
        stream.recv(1000)


def test_something_that_speaks_no_tls(target: Target) -> None:
    finding = failed(target, greets)
    assert (finding.step, finding.code) == ("tls", "coordinator-unreachable")
    assert "does not speak TLS" in finding.said


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        ("407 Proxy Authentication Required", "name and password"),
        ("403 Forbidden", "let the proxy connect"),
        ("405 Method Not Allowed", "allow CONNECT"),
        ("502 Bad Gateway", "cannot reach the coordinator"),
    ],
)
def test_a_proxy_that_refuses(status: str, remedy: str, target: Target) -> None:
    proxy = Proxy(status)
    with accepting(proxy.serve) as port:
        finding = failed(replace(target, proxy=f"http://alder:s3cret@127.0.0.1:{port}"))
    assert finding.step == "proxy"
    assert status[:3] in finding.said
    assert remedy in finding.remedy
    assert "s3cret" not in finding.said
    assert "Proxy-Authorization: Basic YWxkZXI6czNjcmV0" in proxy.asked[0]


def test_a_proxy_that_is_none(target: Target) -> None:
    with accepting(greets) as port:
        finding = failed(replace(target, proxy=f"http://127.0.0.1:{port}"))
    assert finding.step == "proxy"
    assert "no HTTP proxy" in finding.said


def test_our_own_certificate_is_looked_at_too(site: SiteIdentity) -> None:
    findings = probe(Target.of(site), now() + timedelta(days=31))
    assert [finding.ok for finding in findings] == [False, True, True, True]
    error = error_of(findings)
    assert error is not None
    assert error.code == "certificate-expired"
