"""Who connects and then takes their time: cut off, told of, and nobody else waits."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, suppress
from queue import SimpleQueue

import grpc
import pytest

from tests.attacks.conftest import HANDSHAKE_S
from tests.attacks.federation import COORDINATOR, Federation, told
from tests.integration.link.hospital import Hospital

PATIENCE_S = 5 * HANDSHAKE_S
CLIENT_HELLO = bytes.fromhex("16030100c8010000c40303")  # a record of 200 bytes, of which 6 come
MANY = 100


@pytest.fixture(scope="module")
def cedar(whole_federation: Federation) -> Hospital:
    return whole_federation.guest("cedar")


def lasted(stream: socket.socket, sends: bytes) -> float:
    """Seconds after which a connection is ended on which a byte is sent now and then."""
    began = time.monotonic()
    stream.settimeout(0.1)
    with suppress(ConnectionError):
        for byte in sends + bytes(1000):
            if sends:
                stream.send(bytes([byte]))
            with suppress(TimeoutError):
                if not stream.recv(1):
                    break
            if time.monotonic() - began > PATIENCE_S:
                break
    return time.monotonic() - began


@pytest.mark.parametrize("sends", [b"", CLIENT_HELLO], ids=["before the handshake", "within the handshake"])
def test_a_connection(sends: bytes, federation: Federation) -> None:
    with (
        federation.refusing(COORDINATOR, "link.refused", "certificate-refused", call="handshake"),
        socket.create_connection(("127.0.0.1", federation.port)) as stream,
    ):
        assert lasted(stream, sends) < PATIENCE_S


def test_very_many_connections(federation: Federation) -> None:
    with (
        federation.refusing(COORDINATOR, "link.refused", "certificate-refused", call="handshake"),
        ExitStack() as stack,
    ):
        for _ in range(MANY):
            stack.enter_context(socket.create_connection(("127.0.0.1", federation.port)))
        federation.goes_on("alder", "birch")  # while they are open


def test_a_session_that_says_no_hello(cedar: Hospital, federation: Federation) -> None:
    refused = {"site": "cedar", "call": "Session"}
    with (
        federation.refusing(COORDINATOR, "link.refused", "protocol-mismatch", **refused),
        cedar.calling() as line,
    ):
        assert told(line, "goodbye").code == "protocol-mismatch"


@pytest.mark.parametrize("rpc", ["Renew", "FetchBlob", "BlobOffset", "StoreBlob"])
def test_a_call_that_sends_no_message(rpc: str, cedar: Hospital, federation: Federation) -> None:
    silence: SimpleQueue[bytes | None] = SimpleQueue()
    with (
        federation.refusing(COORDINATOR, "link.refused", "coordinator-unreachable", call=rpc, site="cedar"),
        cedar.channel() as channel,
        pytest.raises(grpc.RpcError) as raised,
    ):
        call = channel.stream_stream(f"/consilium.link.v1.Link/{rpc}")
        list(call(iter(silence.get, None), timeout=PATIENCE_S))
    silence.put(None)
    assert raised.value.code() is grpc.StatusCode.CANCELLED
