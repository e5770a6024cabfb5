"""Who gets a connection, through what, and how soon it is known that it is gone."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from common.errors import CertificateExpired, CertificateRefused
from common.link import transport
from common.link.link_pb2 import (
    BlobChunk,
    BlobRequest,
    BlobStatus,
    FromCoordinator,
    FromSite,
    Heartbeat,
    RenewReply,
    RenewRequest,
)
from common.link.link_pb2_grpc import LinkServicer, LinkStub, add_LinkServicer_to_server
from tests.integration.transport.conftest import Federation
from tests.integration.transport.wires import Proxy, Wire

PROXY_VARIABLES = ("http_proxy", "https_proxy", "grpc_proxy", "no_proxy", "no_grpc_proxy")
Options = Sequence[transport.Option]


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)


class Service(LinkServicer):
    """Says back what it hears, and when a session is over."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def Renew(self, request: RenewRequest, context: grpc.ServicerContext) -> RenewReply:
        return RenewReply(certificate=request.csr)

    def Session(
        self, requests: Iterator[FromSite], context: grpc.ServicerContext
    ) -> Iterator[FromCoordinator]:
        context.add_callback(self.over.set)
        for request in requests:
            yield FromCoordinator(heartbeat=request.heartbeat)

    def StoreBlob(self, chunks: Iterator[BlobChunk], context: grpc.ServicerContext) -> BlobStatus:
        return BlobStatus(offset=sum(len(chunk.data) for chunk in chunks))

    def FetchBlob(self, request: BlobRequest, context: grpc.ServicerContext) -> Iterator[BlobChunk]:
        yield BlobChunk(data=bytes(request.offset))


def changed(options: Options, changes: Options) -> Options:
    """The options with some other values: of two with one name gRPC takes the first."""
    return tuple({**dict(options), **dict(changes)}.items())


Serve = Callable[..., tuple[int, Service]]


@pytest.fixture
def serve(federation: Federation) -> Iterator[Serve]:
    """``serve(key, certificate, authority)``: a server with these, or the coordinator's; port and service."""
    servers: list[grpc.Server] = []

    def started(*files: bytes, options: Options = ()) -> tuple[int, Service]:
        server = grpc.server(ThreadPoolExecutor(4), options=changed(transport.SERVER_OPTIONS, options))
        servers.append(server)
        service = Service()
        add_LinkServicer_to_server(service, server)
        credentials = transport.server_credentials(*(files or federation.credentials("coordinator")))
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        return port, service

    yield started
    for server in servers:
        server.stop(None).wait()


def dial(federation: Federation, port: int, **changes: Any) -> grpc.Channel:
    return transport.channel(f"127.0.0.1:{port}", federation.name, *federation.credentials("site"), **changes)


def code_of(channel: grpc.Channel) -> grpc.StatusCode:
    """How a small call ends."""
    with channel:
        try:
            reply = LinkStub(channel).Renew(RenewRequest(csr=b"?"), timeout=10)
        except grpc.RpcError as error:
            return error.code()
        assert reply.certificate == b"?"
        return grpc.StatusCode.OK


def test_coordinator_itself(federation: Federation, serve: Serve) -> None:
    assert code_of(dial(federation, serve()[0])) is grpc.StatusCode.OK


def test_coordinator_of_another_authority(federation: Federation, stranger: Federation, serve: Serve) -> None:
    """It would take anybody; the site does not take it."""
    key, certificate, _ = stranger.credentials("coordinator")
    port, _ = serve(key, certificate, federation.pem["authority"])
    assert code_of(dial(federation, port)) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("holder", ["site", "invitation"])
def test_coordinator_impersonated_by_a_member(federation: Federation, serve: Serve, holder: str) -> None:
    port, _ = serve(*federation.credentials(holder))
    assert code_of(dial(federation, port)) is grpc.StatusCode.UNAVAILABLE


def test_address_by_any_name(federation: Federation, serve: Serve) -> None:
    """The certificate names no address: sites dial what leads there."""
    port, _ = serve()
    files = federation.credentials("site")
    assert code_of(transport.channel(f"localhost:{port}", federation.name, *files)) is grpc.StatusCode.OK


def test_size_of_messages(federation: Federation, serve: Serve) -> None:
    port, _ = serve()
    with dial(federation, port) as channel:
        stub = LinkStub(channel)
        (chunk,) = stub.FetchBlob(BlobRequest(offset=2**20), timeout=10)
        assert len(chunk.data) == 2**20
        with pytest.raises(grpc.RpcError) as from_server:
            list(stub.FetchBlob(BlobRequest(offset=2**22), timeout=10))
        with pytest.raises(grpc.RpcError) as from_site:
            stub.Renew(RenewRequest(csr=bytes(2**22)), timeout=10)
    assert from_server.value.code() is from_site.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    generous = changed(transport.CHANNEL_OPTIONS, [("grpc.max_send_message_length", -1)])
    with dial(federation, port, options=generous) as channel, pytest.raises(grpc.RpcError) as refused:
        LinkStub(channel).Renew(RenewRequest(csr=bytes(2**22)), timeout=10)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    "rubbish", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", bytes(2**20)], ids=["1", "length", "1MiB"]
)
def test_message_that_is_none(federation: Federation, serve: Serve, rubbish: bytes) -> None:
    """It costs its sender that call; the connection and the service go on."""
    with dial(federation, serve()[0]) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary("/consilium.link.v1.Link/Renew")(rubbish, timeout=10)
        assert refused.value.code() is grpc.StatusCode.INTERNAL
        assert LinkStub(channel).Renew(RenewRequest(csr=b"?"), timeout=10).certificate == b"?"


def test_second_coordinator_on_the_port(federation: Federation, serve: Serve) -> None:
    port, _ = serve()
    server = grpc.server(ThreadPoolExecutor(1), options=transport.SERVER_OPTIONS)
    with pytest.raises(RuntimeError):
        server.add_secure_port(
            f"127.0.0.1:{port}", transport.server_credentials(*federation.credentials("coordinator"))
        )


def test_connection_that_says_nothing(serve: Serve) -> None:
    port, _ = serve(options=[("grpc.server_handshake_timeout_ms", 300)])
    with socket.create_connection(("127.0.0.1", port), timeout=3) as silent:
        assert silent.recv(1) == b""
    assert ("grpc.server_handshake_timeout_ms", 10_000) in transport.SERVER_OPTIONS


def black_hole(federation: Federation, port: int, service: Service, options: Options) -> float:
    """Seconds until both sides know that a session is dead, whose wire carries nothing from one moment on."""
    with Wire(port) as wire, dial(federation, wire.port, options=options) as channel:
        ended = threading.Event()

        def requests() -> Iterator[FromSite]:
            yield FromSite(heartbeat=Heartbeat(time_ms=1))
            ended.wait()

        replies = LinkStub(channel).Session(requests())
        assert next(replies).heartbeat.time_ms == 1
        wire.held.set()
        start = time.monotonic()
        with pytest.raises(grpc.RpcError) as lost:
            next(replies)
        ended.set()
        assert lost.value.code() is grpc.StatusCode.UNAVAILABLE
        assert service.over.wait(60)
        return time.monotonic() - start


def test_black_hole(federation: Federation, serve: Serve) -> None:
    """Both sides notice, and soon, by the questions that they ask without being told to."""
    asking = transport.keepalive(200, 300)
    port, service = serve(options=asking)
    assert black_hole(federation, port, service, changed(transport.CHANNEL_OPTIONS, asking)) < 3


@pytest.mark.slow
def test_black_hole_as_installed(federation: Federation, serve: Serve) -> None:
    port, service = serve()
    assert black_hole(federation, port, service, transport.CHANNEL_OPTIONS) < 17


@pytest.mark.slow
def test_slow_line_is_not_a_dead_one(federation: Federation, serve: Serve) -> None:
    """A large upload over a line that is busy for longer than a question may go unanswered."""
    port, _ = serve()
    with Wire(port, rate_bytes_s=200_000) as wire, dial(federation, wire.port) as channel:
        start = time.monotonic()
        sent = (BlobChunk(data=bytes(2**20)) for _ in range(4))
        assert LinkStub(channel).StoreBlob(sent, timeout=120).offset == 2**22
        assert (
            time.monotonic() - start
        ) * 1000 > transport.KEEPALIVE_TIME_MS + transport.KEEPALIVE_TIMEOUT_MS


def test_quiet_session_stays(federation: Federation, serve: Serve) -> None:
    """Asking often while nothing is said is not taken for abuse."""
    port, _ = serve()
    often = changed(transport.CHANNEL_OPTIONS, transport.keepalive(50, 1000))
    with dial(federation, port, options=often) as channel:
        stub = LinkStub(channel)
        stub.Renew(RenewRequest(), timeout=5)
        seen: list[grpc.ChannelConnectivity] = []
        channel.subscribe(seen.append)
        time.sleep(0.8)
        stub.Renew(RenewRequest(), timeout=5)
        assert set(seen) == {grpc.ChannelConnectivity.READY}


def test_proxy(federation: Federation, serve: Serve) -> None:
    port, _ = serve()
    with Proxy() as proxy:
        proxied = dial(federation, port, proxy=f"http://127.0.0.1:{proxy.port}")
        assert code_of(proxied) is grpc.StatusCode.OK
        assert proxy.asked == [f"CONNECT 127.0.0.1:{port} HTTP/1.1"]


def test_proxy_that_resolves_names(federation: Federation, serve: Serve) -> None:
    """A hospital's machine may know no name outside; the proxy does."""
    port, _ = serve()
    with Proxy() as proxy:
        address = f"coordinator.example.invalid:{port}"
        files = federation.credentials("site")
        through = f"http://127.0.0.1:{proxy.port}"
        assert (
            code_of(transport.channel(address, federation.name, *files, proxy=through)) is grpc.StatusCode.OK
        )
        assert proxy.asked == [f"CONNECT {address} HTTP/1.1"]


def test_proxy_with_a_password(federation: Federation, serve: Serve) -> None:
    port, _ = serve()
    with Proxy("ward:secret") as proxy:
        allowed = dial(federation, port, proxy=f"http://ward:secret@127.0.0.1:{proxy.port}")
        assert code_of(allowed) is grpc.StatusCode.OK
        refused = dial(federation, port, proxy=f"http://ward:wrong@127.0.0.1:{proxy.port}")
        assert code_of(refused) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "grpc_proxy"])
def test_no_proxy_of_the_environment(
    federation: Federation, serve: Serve, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Dialling is direct unless a proxy was given."""
    with Proxy() as proxy:
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert code_of(dial(federation, serve()[0])) is grpc.StatusCode.OK
        assert proxy.asked == []


class Context:
    """What a call knows of its connection."""

    def __init__(self, **facts: list[bytes]) -> None:
        self._facts = facts

    def auth_context(self) -> dict[str, list[bytes]]:
        return self._facts


def test_peer(federation: Federation) -> None:
    context = Context(ssl_tls_version=[b"TLSv1.3"], x509_pem_cert=[federation.pem["site"]])
    identity = transport.peer(context, federation.pem["authority"], datetime.now(UTC))
    assert (identity.role, identity.name, identity.federation) == ("site", "north", federation.name)


@pytest.mark.parametrize(
    "changes",
    [
        {"ssl_tls_version": [b"TLSv1.2"]},
        {"ssl_tls_version": []},
        {"ssl_tls_version": [b"TLSv1.3", b"TLSv1.2"]},
        {"x509_pem_cert": []},
        {"x509_pem_cert": [b"", b""]},
        {"x509_pem_cert": [b"rubbish"]},
    ],
    ids=["1.2", "no-tls", "both", "no-certificate", "two-certificates", "rubbish"],
)
def test_no_peer(federation: Federation, changes: dict[str, list[bytes]]) -> None:
    facts = {"ssl_tls_version": [b"TLSv1.3"], "x509_pem_cert": [federation.pem["site"]]}
    with pytest.raises(CertificateRefused):
        transport.peer(Context(**{**facts, **changes}), federation.pem["authority"], datetime.now(UTC))


def test_peer_of_another_federation(federation: Federation, stranger: Federation) -> None:
    context = Context(ssl_tls_version=[b"TLSv1.3"], x509_pem_cert=[stranger.pem["site"]])
    with pytest.raises(CertificateRefused):
        transport.peer(context, federation.pem["authority"], datetime.now(UTC))


def test_peer_of_yesterday(federation: Federation) -> None:
    context = Context(ssl_tls_version=[b"TLSv1.3"], x509_pem_cert=[federation.pem["expired"]])
    with pytest.raises(CertificateExpired):
        transport.peer(context, federation.pem["authority"], datetime.now(UTC))
