"""Putting a finished reply into an outbox, as the process that trains left it."""

from __future__ import annotations

from collections.abc import Mapping

from client.link.outbox import Outbox
from common.link.blobs import BlobStore, Parts
from common.link.envelope import Sealed


def put_out(outbox: Outbox, task: str, sealed: Sealed, parts: Mapping[str, Parts]) -> None:
    """Put a reply in whose weights were made elsewhere, and do not stay there."""
    made = BlobStore(outbox.blobs.folder.with_name("made"), 2**30, durable=False)
    for pieces in parts.values():
        made.put(pieces)
    outbox.put(task, sealed, tuple(parts), made)
    made.keep(())
