"""Archives that are held open, so that the next member costs no second opening.

A process that reads a compressed tar's members in their order goes through it once.
"""

from __future__ import annotations

import io
import os
import threading
from collections import OrderedDict
from pathlib import Path

from client.dicom.archive.found import Found
from client.dicom.archive.opening import nested_bytes, open_packed, open_regular
from client.dicom.archive.packed import Packed, decoding
from client.dicom.outcomes import Quarantined, Reason

OPEN_ARCHIVES = 2
"""So many stay open for the next member: an archive, and one inside it."""


def read_member(found: Found, limit: int) -> bytes:
    """The content of a member; its archive stays open for the next.

    Raises:
        Quarantined: See :func:`client.dicom.archive.read_bytes`.
    """
    with _LOCK:
        packed = _held(found, found.position[:-1])
        return packed.read(found.position[-1], limit)


def close_archives() -> None:
    """Close the archives that :func:`read_member` holds open."""
    with _LOCK:
        while _OPENED:
            _OPENED.popitem()[1].close()


# The least recently used first. Keyed by the process too: after a fork, file positions are shared with the
# parent. The lock is for threads, which would move a tar under each other.
_OPENED: OrderedDict[tuple[int, Path, int, tuple[int, ...]], Packed] = OrderedDict()
_LOCK = threading.Lock()


def _held(found: Found, position: tuple[int, ...]) -> Packed:
    """The archive that is at ``position`` of the one on the disk; () is that one."""
    key = (os.getpid(), found.path, found.modified_ns, position)
    if key not in _OPENED:
        packed = _opened_within(found, position) if position else _opened(found)
        _OPENED[key] = packed
        while len(_OPENED) > OPEN_ARCHIVES:
            _OPENED.popitem(last=False)[1].close()
    _OPENED.move_to_end(key)
    return _OPENED[key]


def _opened(found: Found) -> Packed:
    with decoding():
        status = found.path.stat()
    if status.st_mtime_ns != found.modified_ns:
        raise Quarantined(Reason.unreadable, "the archive has changed since its members were listed")
    return open_packed(lambda: open_regular(found.path), found.path.name, status.st_size)


def _opened_within(found: Found, position: tuple[int, ...]) -> Packed:
    data = nested_bytes(_held(found, position[:-1]), position[-1])
    return open_packed(lambda: io.BytesIO(data), (found.member or "").split("//")[0], len(data))
