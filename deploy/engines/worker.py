"""A process that answers for some sites of a simulation, one message after the other.

Processes, not threads: torch's global generator is one a process, and two sites drawing from it at once
would not be reproducible. Each works with one thread, as a site of `consilium local` does.
"""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from queue import Queue

from flwr.app import Message

from client.site import Site

PRELOAD = "deploy.engines.warm"


def serve(connection: Connection, sites: Mapping[int, Site]) -> None:
    """Answer batches of messages until the other end closes.

    Args:
        connection: Receives lists of messages, sends one reply after the other.
        sites: The sites this process answers for, by node id.
    """
    # Ctrl-C reaches the whole process group; the parent decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from deploy.engines.warm import client_app, context_of

    # What was imported stays shared with all other workers: looking through it for garbage would copy it.
    gc.freeze()
    batches: Queue[list[Message]] = Queue()
    threading.Thread(target=_receive, args=(connection, batches), daemon=True).start()
    while batch := batches.get():
        for message in batch:
            if time.time() > message.metadata.created_at + message.metadata.ttl:
                continue  # nobody waits for it any more
            node_id = message.metadata.dst_node_id
            reply = client_app(message, context_of(node_id, sites[node_id]))
            try:
                connection.send(reply)
            except (BrokenPipeError, ConnectionResetError):
                return


def _receive(connection: Connection, batches: Queue[list[Message]]) -> None:
    """Take in what arrives at once, also while a reply waits to be read: else both ends could wait."""
    try:
        while True:
            batches.put(connection.recv())
    except (EOFError, OSError):
        return
    finally:
        batches.put([])
