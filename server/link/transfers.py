"""Weights on their way to and from sites.

    tasks/            what the coordinator gives out, one blob for however many tasks name it
    replies/NODE_ID/  what a site sends, apart from all others

Invariants: a site is given only what a task names that it is still to answer; what it sends is bounded, and
nobody else can touch it; a transfer in which nothing moves ends.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from common.errors import BlobRefused
from common.link.behind import Behind
from common.link.blobs import BlobStore
from common.link.link_pb2 import BlobRequest, BlobStatus
from common.link.pieces import Piece, encoded, paced
from common.link.records import announced
from server.link.door import Call
from server.link.store import Task, Tasks

GIVEN_OUT_BYTES = 64 * 2**30
FROM_A_SITE_BYTES = 8 * 2**30
UNUSED_S = 600.0
"""How long weights that no task names stay: the model that was tested is the next one that is trained."""

UNCLAIMED_S = 24 * 3600.0
"""How long weights stay that no reply has named since this process began."""


class Transfers:
    """The blobs of one coordinator; threads may share it.

    Args:
        folder: Where they lie.
        tasks: What names them.
        now_ms: Milliseconds since 1970, by which the tasks' deadlines are judged.
    """

    def __init__(self, folder: Path, tasks: Tasks, now_ms: Callable[[], int]) -> None:
        self.given = BlobStore(folder / "tasks", GIVEN_OUT_BYTES)
        self._folder = folder / "replies"
        self._tasks = tasks
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._from: dict[int, BlobStore] = {}

    def sent_by(self, node_id: int) -> BlobStore:
        """What a site has sent."""
        with self._lock:
            if node_id not in self._from:
                self._from[node_id] = BlobStore(self._folder / str(node_id), FROM_A_SITE_BYTES)
            return self._from[node_id]

    def require(self, node_id: int, sizes: Mapping[str, int]) -> None:
        """See that a site has sent what its reply names.

        Raises:
            BlobRefused: Something is missing, or of another length.
        """
        store = self.sent_by(node_id)
        for digest, size in sizes.items():
            if store.size(digest) != size:
                raise BlobRefused(f"blob {digest[:12]} has another length than the reply says")

    def fetch(self, call: Call, request: BlobRequest) -> Iterator[bytes]:
        """A blob from an offset on, for a site that is to have it.

        Raises:
            BlobRefused: It is not, or there is no such blob or offset.
            ConsiliumError: The site may not go on.
        """
        digest, offset = request.digest, request.offset
        if not any(digest in blobs_of(task) for task in self._open_tasks(call)):
            raise BlobRefused(f"{call.site.name} has no task that names the blob")
        size = self.given.size(digest)
        for data in self.given.chunks(digest, offset, paced()):
            call.touch()
            yield encoded(digest, offset, size, data)
            offset += len(data)

    def status(self, call: Call, request: BlobRequest) -> BlobStatus:
        """How much of a blob a site has sent.

        Raises:
            BlobRefused: That is no digest.
        """
        store = self.sent_by(call.site.node_id)
        return BlobStatus(offset=store.offset(request.digest), complete=store.has(request.digest))

    def store(self, call: Call, chunks: Iterator[Piece]) -> BlobStatus:
        """How much of a blob a site has sent with these pieces; complete only if it is what it is named.

        Raises:
            BlobRefused: They are not pieces of one blob in order, or more than a site may send.
            ConsiliumError: The site may not go on.
            MachineError: They cannot be kept.
        """
        store, digest, size = self.sent_by(call.site.node_id), "", 0
        with Behind(store.append) as keeping:
            for chunk in chunks:
                if not chunk.data or (digest and (digest, size) != (chunk.digest, chunk.size)):
                    raise BlobRefused(f"{call.site.name} sent a piece of nothing, or of another blob")
                call.touch()
                digest, size = chunk.digest, chunk.size
                keeping.go_on(digest, chunk.offset, size, chunk.data)
            there = keeping.result()
        if there is None:
            raise BlobRefused(f"{call.site.name} sent no piece at all")
        if there == size:
            store.finish(digest)
        return BlobStatus(offset=there, complete=there == size)

    def tidy(self, node_ids: Collection[int]) -> None:
        """Let go of weights that no open task of these sites names, and that were not used for a while."""
        named = set[str]()
        for node_id in node_ids:
            for task in self._tasks.open_tasks(node_id, self._now_ms()):
                named |= blobs_of(task)
        self.given.keep(named, UNUSED_S)
        for node_id in node_ids:
            self.sent_by(node_id).keep((), UNCLAIMED_S)

    def _open_tasks(self, call: Call) -> list[Task]:
        return self._tasks.open_tasks(call.site.node_id, self._now_ms())


def blobs_of(task: Task) -> set[str]:
    """Digests of the weights that a task names."""
    return (
        set(announced(json.loads(task.envelope.body)["content"]["records"])) if task.envelope.body else set()
    )
