"""What lies between a site and its coordinator: a wire that can go dead, a proxy, somebody else's TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def accepting(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port of 127.0.0.1 where each connection is served in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        opened: list[socket.socket] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    stream, _ = listener.accept()
                    opened.append(stream)
                    threading.Thread(target=guarded, args=(stream,), daemon=True).start()

        def guarded(stream: socket.socket) -> None:
            with suppress(OSError), stream:
                serve(stream)

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for stream in opened:
                with suppress(OSError):
                    stream.shutdown(socket.SHUT_RDWR)
            acceptor.join()


class Wire:
    """Carries bytes to a port until it goes dead: connections stay, and nothing moves on them any more.

    Attributes:
        alive: Cleared, it swallows what comes.
        carried: Connections there ever were.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.alive = threading.Event()
        self.alive.set()
        self.carried = 0

    def serve(self, stream: socket.socket) -> None:
        self.carried += 1
        if not self.alive.is_set():
            while stream.recv(65536):
                pass
            return
        with socket.create_connection(("127.0.0.1", self.target)) as other:
            back = threading.Thread(target=self._carry, args=(other, stream), daemon=True)
            back.start()
            self._carry(stream, other)
            back.join()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self.alive.is_set():
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


class Proxy:
    """An HTTP proxy that connects through, or says what it is told to say.

    Attributes:
        status: What it answers.
        asked: The requests that came, each with its headers.
    """

    def __init__(self, status: str = "200 OK") -> None:
        self.status = status
        self.asked: list[str] = []

    def serve(self, stream: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            more = stream.recv(4096)
            if not more:
                return  # the client went away
            request += more
        self.asked.append(request.decode())
        stream.sendall(f"HTTP/1.1 {self.status}\r\n\r\n".encode())
        if self.status.startswith("200"):
            wire = Wire(int(request.split()[1].rpartition(b":")[2]))
            wire.serve(stream)


def tls_server(
    certificate: bytes, key: bytes, folder: Path, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> Callable[[socket.socket], None]:
    """Serves a handshake and nothing else."""
    folder.mkdir(exist_ok=True)
    (folder / "pair.pem").write_bytes(key + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = most
    context.load_cert_chain(folder / "pair.pem")

    def serve(stream: socket.socket) -> None:
        with suppress(ssl.SSLError), context.wrap_socket(stream, server_side=True) as wrapped:
            wrapped.recv(1)

    return serve
