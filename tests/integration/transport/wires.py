"""What may lie between a site and the coordinator: a wire that can be cut silently, and an HTTP proxy."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Wire:
    """A listener whose connections lead to ``port`` on this machine, until they are held.

    Args:
        port: Where to.
        rate_bytes_s: How many bytes a second it carries each way; None for all that there are.
    """

    def __init__(self, port: int, rate_bytes_s: int | None = None) -> None:
        self._target, self._rate_bytes_s = port, rate_bytes_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.held = threading.Event()  # nothing is carried any more, and nobody is told
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A listener that is only closed goes on accepting in its thread.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for end in (self._listener, *self._ends):
            end.close()

    def greeted(self, near: socket.socket) -> int | None:
        """The port that a new connection leads to; None for nowhere."""
        return self._target

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        port = self.greeted(near)
        if port is None:
            near.close()
            return
        far = socket.create_connection(("127.0.0.1", port))
        self._ends += [near, far]
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(16384)) and not self.held.is_set():
                sink.sendall(data)
                if self._rate_bytes_s:
                    time.sleep(len(data) / self._rate_bytes_s)
            if not self.held.is_set():
                sink.shutdown(socket.SHUT_WR)


class Proxy(Wire):
    """An HTTP proxy that knows CONNECT and nothing else.

    Args:
        password: ``user:password`` that it asks for; nobody is let through without.
    """

    def __init__(self, password: str = "") -> None:
        super().__init__(0)
        self.asked: list[str] = []
        self._password = password

    def greeted(self, near: socket.socket) -> int | None:
        head = _head(near.recv)
        self.asked.append(head.splitlines()[0])
        wanted = f"Proxy-Authorization: Basic {base64.b64encode(self._password.encode()).decode()}"
        if self._password and wanted.lower() not in head.lower():
            near.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return None
        near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return int(self.asked[-1].split()[1].rsplit(":", 1)[1])


def _head(receive: Callable[[int], bytes]) -> str:
    head = b""
    while not head.endswith(b"\r\n\r\n") and (byte := receive(1)):
        head += byte
    return head.decode("ascii")
