"""Processes that open what may break them: each file costs at most its limits, and never the intake.

A worker has no more memory than its limit, writes no file, says nothing on the terminal, and is ended when a
file takes too long. Whatever ends it costs the file it was at; another takes its place for the next one.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, Generic, TypeVar

from client.dicom.handover import Desk, Handover
from client.dicom.outcomes import Quarantined, Reason

Item = TypeVar("Item")
Result = TypeVar("Result")
RUN = 32
"""Neighbouring items go to one worker, so that the members of an archive are read in their order."""

PRELOAD = "client.dicom.examination"

ORPHANED_S = 2.0
"""Seconds after which a worker that nobody ended in time ends itself."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may take."""

    time_s: float = 10.0
    memory_bytes: int = 2 * 2**30


@dataclass(slots=True)
class _Worker(Generic[Item]):
    """A process, the items it is to do, and the one it is at."""

    process: ForkServerProcess
    connection: Connection
    handover: Handover
    queue: deque[Item] = field(default_factory=deque)
    current: Item | None = None
    until: float = 0.0


class WorkerPool(Generic[Item, Result]):
    """Processes that each apply ``work`` to one item after the other.

    Args:
        work: A function of a module, or a partial of one, whose arguments and results can be pickled. What
            it raises must be :class:`Quarantined`; anything else is taken for a decoder's failure.
        count: How many processes.
        limits: For each item.
        extra_s: Seconds that an item may take beyond them, for what lies deep in a compressed archive.
    """

    def __init__(
        self,
        work: Callable[[Item], Result],
        count: int,
        limits: Limits,
        extra_s: Callable[[Item], float] = lambda _: 0.0,
    ) -> None:
        self._work, self._count, self._limits, self._extra_s = work, count, limits, extra_s
        self._context = _fork_server()
        self._workers: list[_Worker[Item]] = []

    @contextmanager
    def running(self) -> Iterator[WorkerPool[Item, Result]]:
        """The pool with its processes; they are gone when the block is left, however it is left."""
        try:
            self._workers = [self._start() for _ in range(self._count)]
            yield self
        finally:
            for worker in self._workers:
                _end(worker)
            self._workers = []

    def map(self, items: Iterable[Item]) -> Iterator[tuple[Item, Result | Quarantined]]:
        """Each item with its result or why there is none, in the order in which they are done.

        A result's arrays are good until the next one is asked for.
        """
        source = iter(items)
        for worker in self._workers:
            self._next(worker, source)
        while busy := [w for w in self._workers if w.current is not None]:
            pause = max(0.0, min(w.until for w in busy) - time.monotonic())
            ready = wait([w.connection for w in busy], timeout=pause)
            for worker in busy:
                if worker.connection in ready or time.monotonic() >= worker.until:
                    item = worker.current
                    assert item is not None  # noqa: S101  busy
                    # Asked anew: it may have answered while the caller worked on another's result.
                    result = self._take(worker, worker.connection.poll())
                    self._next(worker, source)  # before the caller works on the result
                    yield item, result

    def _take(self, worker: _Worker[Item], answered: bool) -> Result | Quarantined:
        if not answered:
            self._replace(worker)
            return Quarantined(Reason.hung, f"more than {self._limits.time_s:g} s")
        try:
            result: Result | Quarantined = worker.handover.receive(worker.connection)
        except (EOFError, OSError):
            worker.process.join()
            status = worker.process.exitcode or 0
            self._replace(worker)
            return Quarantined(Reason.crashed, f"the process ended with status {status}")
        return result

    def _next(self, worker: _Worker[Item], source: Iterator[Item]) -> None:
        if not worker.queue:
            worker.queue.extend(islice(source, RUN))
        worker.current = worker.queue.popleft() if worker.queue else None
        if worker.current is not None:
            allowed_s = self._limits.time_s + self._extra_s(worker.current)
            try:
                worker.connection.send((worker.current, allowed_s))
            except OSError:  # it died between two items, which is not this one's fault
                self._replace(worker)
                worker.connection.send((worker.current, allowed_s))
            worker.until = time.monotonic() + allowed_s

    def _start(self) -> _Worker[Item]:
        ours, theirs = self._context.Pipe()
        handover = Handover()
        process = self._context.Process(
            target=_serve, args=(theirs, handover, self._work, self._limits.memory_bytes), daemon=True
        )
        process.start()
        theirs.close()
        return _Worker(process, ours, handover)

    def _replace(self, worker: _Worker[Item]) -> None:
        _end(worker)
        fresh = self._start()
        worker.process, worker.connection, worker.handover = fresh.process, fresh.connection, fresh.handover


def _end(worker: _Worker[Any]) -> None:
    worker.process.kill()
    worker.process.join()
    worker.connection.close()
    worker.handover.close()


def _fork_server() -> ForkServerContext:
    """Workers are forked from a process that has imported the decoders once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOAD])
    return context


def warm_up() -> None:
    """Start importing the decoders now, beside what the caller does next."""
    from multiprocessing import forkserver

    _fork_server()
    forkserver.ensure_running()


def _serve(connection: Connection, desk: Desk, work: Callable[[Any], Any], memory_bytes: int) -> None:
    """A worker's life: one item after the other until the other end is closed."""
    _confine(memory_bytes)
    while True:
        try:
            item, allowed_s = connection.recv()
        except EOFError:
            return
        # Its parent ends a worker that takes longer. Should that be gone, nobody else would.
        signal.setitimer(signal.ITIMER_REAL, allowed_s + ORPHANED_S)
        result = _guarded(work, item)
        signal.setitimer(signal.ITIMER_REAL, 0)  # a busy parent is waited for; one that is gone ends this
        try:
            desk.send(connection, result)
        except MemoryError:  # there is room for the result but not for a copy of it
            del result
            desk.send(connection, Quarantined(Reason.memory))


def _guarded(work: Callable[[Any], Any], item: Any) -> Any:
    try:
        return work(item)
    except Quarantined as refused:
        return refused
    except MemoryError:
        return Quarantined(Reason.memory)
    # The decoders' edge: only the type is passed on, because the text may quote the file.
    except Exception as error:  # noqa: BLE001
        return Quarantined(Reason.undecodable, type(error).__name__)


def _confine(memory_bytes: int) -> None:
    """Limits of this process, for good."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    sys.dont_write_bytecode = True
    for kind, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, most = resource.getrlimit(kind)
        limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(kind, (limit, limit))
    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # C decoders print there what they think of a file
        os.dup2(quiet, stream)
