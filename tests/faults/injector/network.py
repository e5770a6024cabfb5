"""A network between a site and its coordinator that is cut, black, or slow when it is told to be."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from tests.integration.site_link.wires import Wire

Direction = Literal["up", "down"]
BOTH: tuple[Direction, ...] = ("up", "down")
TICK_S = 0.01
MOST_BYTES = 65536
BUFFER_BYTES = 32768
RESET = struct.pack("ii", 1, 0)  # a closed socket lets go at once, with a reset


class FaultyWire(Wire):
    """Carries bytes to a port, as far as it is told to; for ``accepting(wire.serve)``.

    Attributes:
        rate_bytes_s: How many bytes it carries each way in a second; None for all that there are.
        delay_s: How long what was sent takes to the other side.
        carried_bytes: How many it has carried each way: ``up`` is to the coordinator.
    """

    def __init__(self, target: int, rate_bytes_s: float | None = None, delay_s: float = 0.0) -> None:
        super().__init__(target)
        self.rate_bytes_s, self.delay_s = rate_bytes_s, delay_s
        self.carried_bytes: dict[Direction, int] = {"up": 0, "down": 0}
        self._held: frozenset[Direction] = frozenset()
        self._is_cut = False
        self._due: tuple[Direction, int, Callable[[], None], threading.Event] | None = None

    def cut(self) -> None:
        """Reset every connection, and every new one."""
        self._is_cut = True

    def hold(self, *directions: Direction) -> None:
        """Carry nothing any more, and tell nobody; both ways unless one is named."""
        self._held = frozenset(directions or BOTH)

    def mend(self) -> None:
        """Carry again, at any rate."""
        self._is_cut, self._held, self.rate_bytes_s, self.delay_s = False, frozenset(), None, 0.0

    def after(self, size_bytes: int, direction: Direction, fault: Callable[[], None]) -> threading.Event:
        """Set once ``fault`` was called, which it is when so many more bytes have gone that way."""
        called = threading.Event()
        self._due = direction, self.carried_bytes[direction] + size_bytes, fault, called
        return called

    @contextmanager
    def broken(self, fault: Callable[[], None]) -> Iterator[None]:
        """Have a fault during the block."""
        fault()
        try:
            yield
        finally:
            self.mend()

    def serve(self, stream: socket.socket) -> None:
        """Carry a connection to the target, until either side ends it or it is cut."""
        self.carried += 1
        if self._is_cut:
            _reset(stream)
            return
        with socket.create_connection(("127.0.0.1", self.target)) as other:
            for each in (stream, other):  # a line's worth, not what a machine has room for
                each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
                each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=self._convey, args=(other, stream, "down"), daemon=True)
            back.start()
            self._convey(stream, other, "up")
            back.join()
            if self._is_cut:
                _reset(stream)
                _reset(other)

    def _convey(self, source: socket.socket, sink: socket.socket, direction: Direction) -> None:
        with suppress(OSError):
            while not self._is_cut:
                if direction in self._held or not select.select([source], [], [], TICK_S)[0]:
                    time.sleep(TICK_S if direction in self._held else 0)
                    continue
                data = source.recv(self._at_once())
                if not data:
                    break
                self._pass_on(data, sink, direction)
            if not self._is_cut:
                sink.shutdown(socket.SHUT_WR)

    def _pass_on(self, data: bytes, sink: socket.socket, direction: Direction) -> None:
        if self.delay_s:
            time.sleep(self.delay_s)
        if self.rate_bytes_s:
            time.sleep(len(data) / self.rate_bytes_s)
        while direction in self._held and not self._is_cut:
            time.sleep(TICK_S)
        _send(sink, data, lambda: self._is_cut)
        self.carried_bytes[direction] += len(data)
        self._look(direction)

    def _at_once(self) -> int:
        """How much is taken from a side at a time: a slow line carries little, and often."""
        return MOST_BYTES if self.rate_bytes_s is None else max(1, int(self.rate_bytes_s * TICK_S * 5))

    def _look(self, direction: Direction) -> None:
        due = self._due
        if due is not None and due[0] == direction and self.carried_bytes[direction] >= due[1]:
            self._due = None
            due[2]()
            due[3].set()


def _send(sink: socket.socket, data: bytes, given_up: Callable[[], bool]) -> None:
    """Send all of it, or what goes out before it is given up."""
    rest = memoryview(data)
    while rest and not given_up():
        if select.select([], [sink], [], TICK_S)[1]:
            rest = rest[sink.send(rest, socket.MSG_DONTWAIT) :]


def _reset(stream: socket.socket) -> None:
    with suppress(OSError):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        stream.close()
