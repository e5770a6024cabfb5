"""The rival of ``consilium bench link``: bytes over a TLS 1.3 socket, as Python's own ``ssl`` moves them.

Both ends show a certificate and check the other's. One exchange is so many bytes there and so many back; they
are sent a mebibyte at a time out of memory, and read into a buffer that is ready. Nothing is hashed, nothing
is written, and what is cut off is lost.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

CHUNK_BYTES = 2**20
_ORDER = struct.Struct("!QQ")  # bytes that are sent, these among them, and bytes that are wanted back
LEAST_BYTES = _ORDER.size


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What an end shows and whom it trusts: files in PEM.

    Attributes:
        certificate: Its own.
        key: Of that.
        authority: Who must have signed the other's.
    """

    certificate: Path
    key: Path
    authority: Path

    def context(self, purpose: ssl.Purpose) -> ssl.SSLContext:
        """TLS 1.3 and nothing older, with certificates at both ends."""
        context = ssl.create_default_context(purpose, cafile=str(self.authority))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.certificate, self.key)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def serve(connection: Connection, files: TlsFiles, most_bytes: int) -> None:
    """Answer one caller until it goes away; the port is sent through ``connection``."""
    buffer = memoryview(bytearray(most_bytes))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection.send(listener.getsockname()[1])
        plain, _ = listener.accept()
    with _wrapped(files.context(ssl.Purpose.CLIENT_AUTH), plain, server_side=True) as wire:
        while _receive(wire, buffer[:LEAST_BYTES]):
            sent, wanted = _ORDER.unpack(buffer[:LEAST_BYTES])
            _receive(wire, buffer[LEAST_BYTES:sent])
            _send(wire, buffer[:wanted])


class PlainTls:
    """The caller's end."""

    def __init__(self, wire: ssl.SSLSocket, most_bytes: int) -> None:
        self._wire = wire
        self._out = memoryview(bytearray(most_bytes))
        self._in = memoryview(bytearray(most_bytes))

    def exchange(self, sent: int, wanted: int) -> None:
        """Send so many bytes, ``LEAST_BYTES`` or more, and wait until so many have come back."""
        _ORDER.pack_into(self._out, 0, sent, wanted)
        _send(self._wire, self._out[:sent])
        _receive(self._wire, self._in[:wanted])


@contextmanager
def connected(port: int, files: TlsFiles, name: str, most_bytes: int) -> Iterator[PlainTls]:
    """A connection to :func:`serve`, whose certificate must have this name."""
    plain = socket.create_connection(("127.0.0.1", port))
    with _wrapped(files.context(ssl.Purpose.SERVER_AUTH), plain, server_hostname=name) as wire:
        yield PlainTls(wire, most_bytes)


def _wrapped(
    context: ssl.SSLContext,
    plain: socket.socket,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
) -> ssl.SSLSocket:
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with plain:  # it is empty once it is wrapped
        return context.wrap_socket(plain, server_side=server_side, server_hostname=server_hostname)


def _send(wire: ssl.SSLSocket, data: memoryview) -> None:
    for start in range(0, len(data), CHUNK_BYTES):
        wire.sendall(data[start : start + CHUNK_BYTES])


def _receive(wire: ssl.SSLSocket, buffer: memoryview) -> bool:
    """Whether the buffer was filled; the other end has gone otherwise."""
    while buffer and (size := wire.recv_into(buffer, min(len(buffer), CHUNK_BYTES))):
        buffer = buffer[size:]
    return not buffer
