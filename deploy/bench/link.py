"""How fast the link moves weights, and what it adds to a small call, beside TLS sockets in the same run.

Both move as many bytes between two processes of this machine, over TLS 1.3 with certificates at both ends, to
the site and from it in turn, and medians are compared. The rival moves them from memory to memory and does no
more. The link does all that it does for a hospital from asking for a transfer on: it reads a blob from a
store, and answers when it is whole, checked against its digest and written durably at the other end.
What comes before is not timed: that the sender puts the blob into its store, and hashes it while it does.

A small call is the question how much of a blob has come, which passes every check of who asks, or a heartbeat
in a session that is open; the slower of the two counts. The rival exchanges as many bytes.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from uuid import uuid4

from client.link import Greeting  # first of ours: flwr loads gRPC, see common/link/tls13.py

# isort: split
import numpy as np

from client.link.transfers import fetch, upload
from common import __version__
from common.link.blobs import digest_of
from common.link.link_pb2 import BlobRequest, FromCoordinator, FromSite, Heartbeat
from deploy.bench.bench import Figure, Results
from deploy.bench.link_pair import Pair, paired
from deploy.bench.plain_tls import LEAST_BYTES

SIZE_BYTES = 100_000_000
TURNS, CALLS = 9, 400
ANSWER_S = 20.0
_MEGABYTE = 1e6

Seconds = dict[str, float]


def measure(size_bytes: int = SIZE_BYTES, turns: int = TURNS, calls: int = CALLS) -> Results:
    """``ratio_to_tls`` and ``added_latency_ms``, with what they are made of.

    Args:
        size_bytes: How much is moved at a time.
        turns: How often, each way.
        calls: How many small calls of each kind.
    """
    folder = tempfile.TemporaryDirectory(prefix="consilium-bench-")
    with folder as name, paired(Path(name), size_bytes) as pair:
        moved = _medians(_Transfers(pair, size_bytes).turn, turns)
        with _session(pair) as heartbeat:
            called = _medians(lambda: _called(pair, heartbeat), calls)
    return Results((*_speeds(moved, size_bytes), *_latencies(called)))


def _speeds(moved: Seconds, size_bytes: int) -> Iterator[Figure]:
    ratios = {way: moved[f"{way}_tls"] / moved[way] for way in ("fetch", "store")}
    yield Figure("ratio_to_tls", min(ratios.values()), "x", goal=0.4, at_least=True)
    for way, ratio in ratios.items():
        yield Figure(f"{way}_ratio_to_tls", ratio, "x")
    for name, seconds in moved.items():
        yield Figure(f"{name}_mb_s", size_bytes / _MEGABYTE / seconds, "MB/s")


def _latencies(called: Seconds) -> Iterator[Figure]:
    added = max(called[kind] - called[f"{kind}_tls"] for kind in ("question", "heartbeat"))
    yield Figure("added_latency_ms", added * 1000, "ms", goal=3.0)
    for name, seconds in called.items():
        yield Figure(f"{name}_ms", seconds * 1000, "ms")


def _medians(turn: Callable[[], Seconds], turns: int) -> Seconds:
    """Of each time that a turn takes; a first turn warms up and does not count."""
    turn()
    times = [turn() for _ in range(turns)]
    return {name: statistics.median(each[name] for each in times) for name in times[0]}


class _Transfers:
    """Transfers of blobs that were never seen before, each in the place of the one before it.

    That one is removed at the last moment: its memory is used again then. A virtual machine may give memory
    that is free back to its host, and take longer to get it again than to fill it.
    """

    def __init__(self, pair: Pair, size_bytes: int) -> None:
        self._pair, self._size_bytes = pair, size_bytes
        self._given, self._made = "", ""

    def turn(self) -> Seconds:
        """One transfer each way, by the link and by the rival."""
        pair, size = self._pair, self._size_bytes
        given, given_bytes = pair.give(size, self._given)
        self._remove(self._given)
        fetch_s = _timed(lambda: fetch(pair.link, pair.blobs, given, given_bytes))
        fetch_tls_s = _timed(lambda: pair.plain.exchange(LEAST_BYTES, size))
        made = self._put(np.random.default_rng().bytes(size))
        pair.forget(self._made)
        store_s = _timed(lambda: upload(pair.link, pair.blobs, made, ANSWER_S))
        store_tls_s = _timed(lambda: pair.plain.exchange(size, LEAST_BYTES))
        self._given, self._made = given, made
        return {"fetch": fetch_s, "fetch_tls": fetch_tls_s, "store": store_s, "store_tls": store_tls_s}

    def _put(self, data: bytes) -> str:
        """Digest of a blob of the site that takes the place of the last one."""
        digest = digest_of([data])
        self._remove(self._made)
        return self._pair.blobs.put([data], digest)  # as a finished reply is put out

    def _remove(self, digest: str) -> None:
        if digest:
            self._pair.blobs.remove(digest)


def _called(pair: Pair, heartbeat: Callable[[], FromCoordinator]) -> Seconds:
    """One small call of each kind, by the link and by the rival."""
    question = BlobRequest(digest="0" * 64)
    answer = pair.link.BlobOffset(question, timeout=ANSWER_S)
    beat = heartbeat()
    return {
        "question": _timed(lambda: pair.link.BlobOffset(question, timeout=ANSWER_S)),
        "question_tls": _timed(lambda: pair.plain.exchange(_most(question), _most(answer))),
        "heartbeat": _timed(heartbeat),
        "heartbeat_tls": _timed(lambda: pair.plain.exchange(_most(_heartbeat()), _most(beat))),
    }


@contextmanager
def _session(pair: Pair) -> Iterator[Callable[[], FromCoordinator]]:
    """``heartbeat()``: the coordinator's answer to one, in a session that is open during the block."""
    words: SimpleQueue[FromSite | None] = SimpleQueue()
    answers = pair.link.Session(iter(words.get, None))

    def said(message: FromSite) -> FromCoordinator:
        words.put(message)
        answer: FromCoordinator = next(answers)
        return answer

    try:
        said(FromSite(hello=Greeting(__version__).hello(uuid4().hex, _now_ms())))
        yield lambda: said(_heartbeat())
    finally:
        words.put(None)
        answers.cancel()


def _heartbeat() -> FromSite:
    return FromSite(heartbeat=Heartbeat(time_ms=_now_ms()))


def _most(message: BlobRequest | FromSite | FromCoordinator) -> int:
    """How many bytes the rival sends for a message; fewer than its least it cannot."""
    return max(LEAST_BYTES, len(message.SerializeToString()))


def _now_ms() -> int:
    return int(time.time() * 1000)


def _timed(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began
