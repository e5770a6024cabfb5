"""A Flower Grid in memory: sites answered for by worker processes on the cores there are.

Invariant: which worker answers for a site does not change what it answers.
"""

from __future__ import annotations

import heapq
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from types import TracebackType

from flwr.app import Message

from client.site import Site
from common.errors import EngineFailed
from common.flower import error_reply
from deploy.engines.worker import PRELOAD, serve
from server.detached import DetachedGrid
from server.study_run import RunPlan, run_study

WORKER_DIED = 1
PULL_WAIT_S = 0.05


@dataclass(slots=True, eq=False)
class _Worker:
    """A worker process, its connection and the messages it has not answered yet."""

    process: ForkServerProcess
    connection: Connection
    waiting: dict[str, Message] = field(default_factory=dict)
    answered: bool = False


class InProcessGrid(DetachedGrid):
    """Runs the installed ClientApp for many sites.

    Use as a context manager: on exit the workers are gone.
    """

    def __init__(self, sites: Sequence[Site], loads: Sequence[int], workers: int | None = None) -> None:
        """Start the workers.

        Args:
            sites: Node ``i + 1`` is ``sites[i]``.
            loads: Training cases of each site, by which sites are spread over the workers.
            workers: Number of processes; by default one a core, and no more than sites.
        """
        super().__init__()
        self._sites = dict(enumerate(sites, start=1))
        number = max(1, min(workers or os.cpu_count() or 1, len(sites)))
        self._home = _spread(loads, number)
        self._context = fork_server()
        self._workers = [self._start(index) for index in range(number)]
        self._replies: dict[str, Message] = {}

    def __enter__(self) -> InProcessGrid:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.connection.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()

    def get_node_ids(self) -> Iterable[int]:
        """All sites are always online."""
        return list(self._sites)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Hand messages to the workers of their sites; returns their ids in order."""
        batches: dict[int, list[Message]] = defaultdict(list)
        ids = []
        for message in messages:
            sent = self.numbered(message)
            batches[self._home[message.metadata.dst_node_id]].append(sent)
            ids.append(sent.metadata.message_id)
        for index, batch in batches.items():
            self._send(index, batch)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Replies to these messages that are there; waits a moment for the first."""
        self._collect()
        return [self._replies.pop(i) for i in message_ids if i in self._replies]

    def _start(self, index: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        sites = {node: site for node, site in self._sites.items() if self._home[node] == index}
        process = self._context.Process(target=serve, args=(theirs, sites), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _send(self, index: int, batch: list[Message]) -> None:
        worker = self._workers[index]
        worker.waiting.update({message.metadata.message_id: message for message in batch})
        try:
            # One pickle a batch: weights that its messages share are written once.
            worker.connection.send(batch)
        except (BrokenPipeError, ConnectionResetError):
            self._replace(worker)

    def _collect(self) -> None:
        connections = {worker.connection: worker for worker in self._workers}
        for ready in wait(list(connections), timeout=PULL_WAIT_S):
            worker = connections[ready]  # type: ignore[index]
            try:
                while worker.connection.poll():
                    reply = worker.connection.recv()
                    worker.answered = True
                    worker.waiting.pop(reply.metadata.reply_to_message_id)
                    self._replies[reply.metadata.reply_to_message_id] = reply
            except (EOFError, OSError):  # also in the middle of a reply
                self._replace(worker)

    def _replace(self, worker: _Worker) -> None:
        """A worker died (out of memory, a crash in native code): its messages fail, its sites live on."""
        for message_id, message in worker.waiting.items():
            self._replies[message_id] = error_reply(message, WORKER_DIED, "worker process died")
        worker.connection.close()
        worker.process.join()
        if not worker.answered and not worker.waiting:
            raise EngineFailed(f"a worker process ended as it started (status {worker.process.exitcode})")
        index = self._workers.index(worker)
        self._workers[index] = self._start(index)


class InProcessEngine:
    """Simulation in worker processes of this machine."""

    name = "inprocess"

    def run(self, plan: RunPlan, sites: Sequence[Site], loads: Sequence[int]) -> None:
        """See :class:`deploy.engines.engine.Engine`."""
        with InProcessGrid(sites, loads) as grid:
            run_study(grid, plan)


def fork_server() -> ForkServerContext:
    """Workers are forked from a process of one thread that has imported everything once.

    Call it early: the imports then run beside the caller's own.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOAD])
    return context


def warm_up() -> None:
    """Start the fork server now, so that it imports while this process does."""
    from multiprocessing import forkserver

    fork_server()
    forkserver.ensure_running()


def _spread(loads: Sequence[int], workers: int) -> Mapping[int, int]:
    """Worker of each node: the largest site first, each to the worker with the least so far."""
    heap = [(0, worker) for worker in range(workers)]
    home = {}
    for node, load in sorted(enumerate(loads, start=1), key=lambda item: (-item[1], item[0])):
        total, worker = heapq.heappop(heap)
        home[node] = worker
        heapq.heappush(heap, (total + load, worker))
    return home
