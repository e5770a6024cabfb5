"""Mutual TLS 1.3 and nothing else, shown by processes that know nothing of each other but their files."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Queue

import grpc
import pytest

from common.link import tls13
from common.link.link_pb2 import RenewRequest
from common.link.link_pb2_grpc import LinkStub
from tests.integration.transport.conftest import Federation

SERVING = Path(__file__).with_name("serving.py")
ROOT = Path(__file__).parents[3]
FLOWER = "flwr.app,flwr.clientapp,flwr.serverapp"
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS
HEADERS = {
    ":method": "POST",
    ":scheme": "https",
    ":path": "/consilium.link.v1.Link/Renew",
    ":authority": "coordinator",
    "te": "trailers",
    "content-type": "application/grpc",
}

Said = Callable[[], list[str]]


def put_each(said: Iterable[str], lines: Queue[str]) -> None:
    for line in said:
        lines.put(line)


@contextmanager
def process(*arguments: object) -> Iterator[Said]:
    """A process of its own; what is yielded gives the words of the next line that it says."""
    environment = {name: value for name, value in os.environ.items() if name != tls13.VARIABLE}
    lines: Queue[str] = Queue()
    with subprocess.Popen(
        [sys.executable, SERVING, *map(str, arguments)],
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        assert started.stdin and started.stdout
        reading = threading.Thread(target=put_each, args=(started.stdout, lines))
        reading.start()
        try:
            yield lambda: lines.get(timeout=30).split()
        finally:
            started.stdin.close()
            reading.join()


@pytest.fixture(scope="module")
def folder(federation: Federation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The federation's files."""
    return federation.write(tmp_path_factory.mktemp("federation"))


@pytest.fixture(scope="module")
def strangers(stranger: Federation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The other federation's files."""
    return stranger.write(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def fresh(folder: Path) -> Iterator[int]:
    """The port of a fresh process that imported Consilium, then Flower, then served."""
    with process(f"common.link.tls13,{FLOWER}", folder) as said:
        _, port, in_force = said()
        assert in_force == "True"
        yield int(port)


def heard(
    port: int, version: ssl.TLSVersion, folder: Path, holder: str, sent: bytes = PREFACE, until: bytes = b""
) -> bytes:
    """What the coordinator says, ``until`` it said that, over this version of TLS; nothing if it refuses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    if holder:
        context.load_cert_chain(folder / f"{holder}.pem", folder / f"{holder}-key.pem")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        try:
            with context.wrap_socket(plain) as secure:
                secure.sendall(sent)
                said = secure.recv(9)
                while said and until not in said:
                    said += secure.recv(4096)
                return said
        except (ssl.SSLError, ConnectionError):
            return b""


def is_settings(said: bytes) -> bool:
    """Whether it begins as a server of HTTP/2 does that took the connection."""
    return len(said) >= 9 and said[3] == 4


@pytest.mark.parametrize("holder", ["site", "invitation"])
def test_tls_13_and_nothing_older(fresh: int, folder: Path, holder: str) -> None:
    assert is_settings(heard(fresh, TLS13, folder, holder))
    assert heard(fresh, TLS12, folder, holder) == b""


@pytest.mark.parametrize("holder", ["", "expired", "coordinator"], ids=["none", "expired", "coordinator"])
def test_certificates_that_open_nothing(fresh: int, folder: Path, holder: str) -> None:
    assert heard(fresh, TLS13, folder, holder) == b""


@pytest.mark.parametrize("holder", ["site", "invitation"])
def test_certificates_of_another_authority(fresh: int, strangers: Path, holder: str) -> None:
    assert heard(fresh, TLS13, strangers, holder) == b""


def test_plaintext(fresh: int) -> None:
    with socket.create_connection(("127.0.0.1", fresh), timeout=5) as plain:
        plain.sendall(PREFACE)
        with suppress(ConnectionError):
            assert not is_settings(plain.recv(9))
    with grpc.insecure_channel(f"127.0.0.1:{fresh}") as channel, pytest.raises(grpc.RpcError) as refused:
        LinkStub(channel).Renew(RenewRequest(), timeout=3)
    assert refused.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def frame(kind: int, flags: int, content: bytes) -> bytes:
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + (1).to_bytes(4, "big") + content


def empty_call() -> bytes:
    """A call of ``Renew`` in HTTP/2 (RFC 9113), its headers spelled out (RFC 7541, 6.2.2)."""
    spelled = b"".join(
        b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in HEADERS.items()
    )
    return PREFACE + frame(1, 4, spelled) + frame(0, 1, bytes(5))


def test_call_over_tls_12_where_grpc_was_loaded_before(folder: Path) -> None:
    """The variable comes too late for this process's handshakes; each call is refused all the same."""
    with process(FLOWER, folder) as said:
        _, port, in_force = said()
        assert in_force == "False"
        assert is_settings(heard(int(port), TLS12, folder, "site", empty_call(), b"certificate-refused"))
        assert said()[:2] == ["refused", "certificate-refused"]
        assert is_settings(heard(int(port), TLS13, folder, "site", empty_call(), b"north"))
        assert said() == ["called", "site", "north"]


@pytest.mark.parametrize("package", ["common", "server", "client", "deploy"])
def test_importing_consilium_comes_before_grpc(package: str) -> None:
    """Whichever module is imported first, its package has seen to TLS before it can import Flower."""
    script = f"import sys, {package}; print('common.link.tls13' in sys.modules, 'grpc' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, cwd=ROOT, text=True, check=True
    )
    assert said.stdout.split() == ["True", "False"]


@contextmanager
def old_server(folder: Path, failures: list[str]) -> Iterator[int]:
    """The coordinator's own certificate behind TLS 1.2; the port, and what its handshakes fail with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = TLS12
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(folder / "coordinator.pem", folder / "coordinator-key.pem")

    def serve(listener: socket.socket) -> None:
        try:
            while True:
                with listener.accept()[0] as plain, context.wrap_socket(plain, server_side=True) as secure:
                    failures.append(f"none: {secure.version()}")
        except ssl.SSLError as error:
            failures.append(error.reason or "")
        except OSError:
            pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_site_takes_no_coordinator_below_tls_13(fresh: int, folder: Path, federation: Federation) -> None:
    failures: list[str] = []
    with (
        old_server(folder, failures) as port,
        process(f"common.link.tls13,{FLOWER}", folder, federation.name, fresh, port) as said,
    ):
        assert said() == ["answered", "north"]
        assert said()[:2] == ["failed", "UNAVAILABLE"]
    assert failures in (["UNSUPPORTED_PROTOCOL"], ["NO_SHARED_CIPHER"])
