"""How a worker's arrays reach its parent: in memory that both map, not through a pipe.

A pipe costs two copies and many calls for every picture. Here the worker copies an array once, and the parent
reads it where it lies. There are two halves, used in turn: the parent may look at one result while the worker
makes the next one.
"""

from __future__ import annotations

import mmap
import os
import pickle
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import DupFd
from typing import Any

HALF_BYTES = 2**25
"""Arrays of one result that are larger than this together go through the pipe."""

_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class _Message:
    """A pickled result, and where its arrays lie in the shared memory: offset and length of each."""

    pickled: bytes
    spans: tuple[tuple[int, int], ...] = ()


class Handover:
    """The parent's end. Handed to a process that is being started, it arrives there as a :class:`Desk`."""

    def __init__(self) -> None:
        self._file = os.memfd_create("consilium-worker", os.MFD_CLOEXEC)
        os.ftruncate(self._file, 2 * HALF_BYTES)
        self._memory = mmap.mmap(self._file, 2 * HALF_BYTES)

    def __reduce__(self) -> tuple[type[Desk], tuple[Any]]:
        return Desk, (DupFd(self._file),)

    def receive(self, connection: Connection) -> Any:
        """The worker's next result. Its arrays are good until the one after the next is received.

        Raises:
            EOFError, OSError: The worker is gone.
        """
        message: _Message = connection.recv()
        view = memoryview(self._memory)
        return pickle.loads(message.pickled, buffers=[view[a : a + n] for a, n in message.spans])  # noqa: S301  our worker's

    def close(self) -> None:
        """Let go of the memory; a result that is still looked at keeps its own hold of it."""
        os.close(self._file)


class Desk:
    """The worker's end, of a descriptor that came with it."""

    def __init__(self, descriptor: Any) -> None:
        file = descriptor.detach()
        self._memory = mmap.mmap(file, 2 * HALF_BYTES)
        os.close(file)
        self._half = 0

    def send(self, connection: Connection, result: Any) -> None:
        """Hand over a result."""
        buffers: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps(result, protocol=5, buffer_callback=buffers.append)
        raw = [buffer.raw() for buffer in buffers]
        if sum(part.nbytes + _ALIGNMENT for part in raw) > HALF_BYTES:
            connection.send(_Message(pickle.dumps(result, protocol=5)))
            return
        at, spans = self._half * HALF_BYTES, []
        for part in raw:
            self._memory[at : at + part.nbytes] = part
            spans.append((at, part.nbytes))
            at += part.nbytes + -part.nbytes % _ALIGNMENT
        self._half = 1 - self._half
        connection.send(_Message(pickled, tuple(spans)))
