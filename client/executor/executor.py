"""The daemon's side of the process that trains: start it, give it one task, end it, start another."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from client.executor.order import Order, Underway, said_in
from common.errors import ExecutorDied

KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
"""Variables that the child inherits by name."""

KEPT_PREFIXES = ("CONSILIUM_", "CUDA_", "NVIDIA_", "OMP_", "MKL_", "PYTHON", "TORCH_")
"""Variables that the child inherits by their beginning; proxies and credentials are in neither."""

START_S = 120.0
"""Longest time in which the child must be ready: torch from a cold disk takes most of it."""


GRACE_S = 2.0
"""How long training may take to write down how far it is, when the daemon ends."""


class Cancelled(Exception):
    """The task was taken back while it ran; there is no reply."""


@dataclass(slots=True)
class _Child:
    """A process, its pipe, and our end of its lifeline."""

    process: subprocess.Popen[bytes]
    orders: Connection
    lifeline: socket.socket
    ending: threading.Lock = field(default_factory=threading.Lock)

    def end(self, grace_s: float = 0.0) -> None:
        """Have it gone when this returns; it is asked first, and may take so long to end by itself."""
        if grace_s:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(grace_s)
        with self.ending:  # who waits for its answer ends it too, once it is gone
            self.lifeline.close()
            self.process.kill()
            self.process.wait()
            if not self.orders.closed:
                self.orders.close()


class Executor:
    """Runs one task at a time in a child process that knows nothing but that task.

    Args:
        given: Folder of the blob store with the weights that orders name.
        made: Folder of the blob store where the child puts the weights of its replies.
        limit_bytes: Most that either may hold.
    """

    def __init__(self, given: Path, made: Path, limit_bytes: int) -> None:
        self._arguments = (str(given), str(made), str(limit_bytes))
        self._lock = threading.Lock()  # over the three below, never held while waiting
        self._child: _Child | None = None
        self._task = ""
        self._cancelled: set[str] = set()

    @property
    def process_id(self) -> int | None:
        """The living child's; None while there is none."""
        child = self._child
        return child.process.pid if child is not None and child.process.poll() is None else None

    def start(self) -> None:
        """Have a child that is ready, so that the first task need not wait for torch.

        Raises:
            ExecutorDied: It did not come up.
        """
        with self._lock:
            if self._child is not None and self._child.process.poll() is None:
                return
            child = self._child = _started(self._arguments)
        if not child.orders.poll(START_S):
            child.end()
            raise ExecutorDied(f"the process that trains was not ready within {START_S:g} s")
        self._received(child)

    def run(self, order: Order, underway: Callable[[float], None] = lambda done: None) -> Mapping[str, Any]:
        """The records of the reply to one order; waits for it.

        Args:
            order: What is to be done.
            underway: Told now and then which share of it was done.

        Raises:
            Cancelled: It was taken back.
            ExecutorDied: The child ended in the middle of it; the next order gets another.
        """
        with self._lock:
            self._task = order.task
        try:
            self.start()
            child = self._child
            if child is None or order.task in self._cancelled:
                raise Cancelled
            child.orders.send_bytes(order.to_bytes())
            while isinstance(said := said_in(self._received(child)), Underway):
                underway(said.done)
            if said.last:
                child.end()
            return said.records
        except (ExecutorDied, OSError) as error:
            if order.task in self._cancelled:
                raise Cancelled from None
            raise error if isinstance(error, ExecutorDied) else ExecutorDied(str(error)) from None
        finally:
            with self._lock:
                self._task = ""
                self._cancelled.discard(order.task)

    def cancel(self, task: str) -> None:
        """End a task at once if it runs; any other is left alone."""
        with self._lock:
            if not task or self._task != task:
                return
            self._cancelled.add(task)
            if self._child is not None:
                self._child.process.kill()

    def close(self) -> None:
        """End the child; a task that runs is cancelled, once it was written down how far it is."""
        with self._lock:
            child, self._child = self._child, None
            if self._task:
                self._cancelled.add(self._task)
            grace_s = GRACE_S if self._task else 0.0
        if child is not None:
            child.end(grace_s)

    def _received(self, child: _Child) -> bytes:
        try:
            return child.orders.recv_bytes()
        except (EOFError, OSError):
            child.end()
            status = child.process.returncode
            raise ExecutorDied(f"the process that trains ended with status {status}") from None


def _started(arguments: tuple[str, ...]) -> _Child:
    """A child that is on its way up."""
    ours, theirs = socket.socketpair()
    lifeline, other_end = socket.socketpair()
    with theirs, other_end:
        passed = (theirs.fileno(), other_end.fileno())
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "client.executor.child", *map(str, passed), *arguments],
            pass_fds=passed,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=_environment(),
        )
    return _Child(process, Connection(ours.detach()), lifeline)


def _environment() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if name in KEPT or name.startswith(KEPT_PREFIXES)
    }
