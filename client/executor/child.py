"""The process that trains: it answers one order after the other with the installed ClientApp.

It is started with two inherited descriptors: the pipe of its orders, and a lifeline whose end tells it that
the daemon is gone, so that no training goes on without one. It has no certificate, no key and no address.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from flwr.app import Context, Message, RecordDict

from client.app import app, private_log
from client.executor.order import Done, Order
from common.flower import adopt_identity, free_message
from common.link.blobs import BlobStore
from common.link.records import described, restored

READY = b"ready"


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
    serve(Connection(int(orders)), BlobStore(Path(given), limit), BlobStore(Path(made), limit))


def serve(orders: Connection, given: BlobStore, made: BlobStore) -> None:
    """Say that training can begin, then answer each order; returns when the other end closes."""
    orders.send_bytes(READY)
    while True:
        try:
            order = Order.of_bytes(orders.recv_bytes())
            orders.send_bytes(_answer(order, given, made).to_bytes())
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _answer(order: Order, given: BlobStore, made: BlobStore) -> Done:
    request = free_message(restored(order.records, given.read), order.message_type, node_id=1)
    context = Context(run_id=1, node_id=1, node_config=dict(order.site), state=RecordDict(), run_config={})
    reply: Message = app(request, context)
    records, parts = described(reply.content)
    for digest, pieces in parts.items():
        made.put(pieces, digest)
    return Done(order.task, records)


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
