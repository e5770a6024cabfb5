"""The process that trains: it answers one order after the other with the installed ClientApp.

It is started with two inherited descriptors: the pipe of its orders, and a lifeline whose end tells it that
the daemon is gone, so that no training goes on without one. It has no certificate, no key and no address.
Told to end, it writes down how far training is and does.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from flwr.app import Context, Message, RecordDict

from client.app import app, private_log
from client.checkpoints import INTERRUPTION, PROGRESS, Interrupted
from client.executor.order import Done, Order, Underway
from common.errors import DeviceFailed, OutOfMemory
from common.flower import adopt_identity, free_message
from common.link.blobs import BlobStore
from common.link.records import described, restored
from common.tasks import read_refusal

READY = b"ready"

_LAST = (DeviceFailed.code, OutOfMemory.code)
"""After these, memory stays taken and a GPU's context stays broken until the process ends."""


def main(arguments: Sequence[str]) -> None:
    """Answer orders until the pipe closes.

    Args:
        arguments: Descriptors of the pipe and of the lifeline, the folders of the blob stores that hold what
            is given and what is made, and the limit of the latter in bytes.
    """
    orders, lifeline, given, made, limit_bytes = arguments
    # Ctrl-C reaches the whole process group; the daemon decides when its child ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _show_codes_alone()
    threading.Thread(target=_end_with, args=(int(lifeline),), daemon=True).start()
    adopt_identity(run_id=1)
    limit = int(limit_bytes)
    serve(Connection(int(orders)), BlobStore(Path(given), limit), BlobStore(Path(made), limit, durable=False))


def serve(orders: Connection, given: BlobStore, made: BlobStore) -> None:
    """Say that training can begin, then answer each order; returns when there is no more to be done.

    That is when the other end closes, when training was told to end, or after an answer that is the last.
    """
    orders.send_bytes(READY)
    PROGRESS.listener = lambda done: _tell(orders, done)
    last = False
    while not last:
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            order = Order.of_bytes(orders.recv_bytes())
            signal.signal(signal.SIGTERM, lambda *_: INTERRUPTION.ask())
            done = _answer(order, given, made)
            orders.send_bytes(done.to_bytes())
            last = done.last
        except (EOFError, BrokenPipeError, ConnectionResetError, Interrupted):
            return


def _answer(order: Order, given: BlobStore, made: BlobStore) -> Done:
    request = free_message(restored(order.records, given.read), order.message_type, node_id=1)
    context = Context(run_id=1, node_id=1, node_config=dict(order.site), state=RecordDict(), run_config={})
    reply: Message = app(request, context)
    records, parts = described(reply.content)
    for digest, pieces in parts.items():
        made.put(pieces, digest)
    refusal = read_refusal(reply.content)
    return Done(order.task, records, last=refusal is not None and refusal.code in _LAST)


def _tell(orders: Connection, done: float) -> None:
    with suppress(OSError):  # the other end is gone, and this process soon will be
        orders.send_bytes(Underway(done).to_bytes())


def _show_codes_alone() -> None:
    """Let nothing onto the daemon's console but our own lines: what libraries print there may quote data."""
    console = os.fdopen(os.dup(2), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)  # also for what is not written in Python
    os.close(nowhere)
    handler = logging.StreamHandler(console)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logging.getLogger("consilium").addHandler(handler)
    private_log.disabled = True


def _end_with(lifeline: int) -> None:
    """End this process, whatever it is at, when the other end of the lifeline closes."""
    os.read(lifeline, 1)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
