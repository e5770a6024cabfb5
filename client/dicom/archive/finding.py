"""Every file of folders and archives, found once and in the same order each time; and what is in one.

Everything that is met is told of: what cannot be read stands there with its reason, and what is reached a
second time, by a link or because it was named twice, is marked as a repeat. Pipes, sockets and devices are
never opened, and members of archives are only ever read into memory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from client.dicom.archive.capped import read_capped
from client.dicom.archive.found import Found
from client.dicom.archive.members import members_of
from client.dicom.archive.open_archives import read_member
from client.dicom.archive.opening import HEAD_BYTES, kind_of, named_archive, open_regular
from client.dicom.archive.packed import decoding
from client.dicom.outcomes import Quarantined, Reason


def find(roots: Sequence[Path]) -> Iterator[Found]:
    """Every file below folders, files themselves, and members of zip and tar archives.

    Roots come in their order, the entries of a folder by name, those of an archive in its own order with
    links last. Archives are known by their names (``SUFFIXES`` of ``opening``), and by their content
    too where they are named as roots. An archive that breaks off is told of after the members it does give.
    """
    seen: set[int | str] = set()
    for root in roots:
        yield from _walk(os.path.abspath(root), seen)  # noqa: PTH100  Path.resolve would follow links


def read_bytes(found: Found, limit: int) -> bytes:
    """The content of a file or member.

    Archives stay open for the next call. Members read in their order cost one pass through a compressed
    tar; a step back starts it again.

    Args:
        found: As :func:`find` gives it.
        limit: Most bytes that it may have; checked while reading, whatever the headers say.

    Raises:
        Quarantined: ``unreadable``, ``empty``, ``too_large``, ``archive_broken``, ``archive_too_large``, or
            ``memory``.
    """
    if found.reason is not None:
        raise Quarantined(found.reason)
    if found.position:
        return read_member(found, limit)
    with decoding(), open_regular(found.path) as stream:
        return read_capped(stream, limit, os.fstat(stream.fileno()).st_size)


def _walk(root: str, seen: set[int | str]) -> Iterator[Found]:
    """What is at or below ``root``; paths are texts, because there may be millions of them."""
    waiting = [root]
    while waiting:
        path = waiting.pop()
        try:
            status = os.stat(path)  # noqa: PTH116
            names = sorted(os.listdir(path)) if stat.S_ISDIR(status.st_mode) else []  # noqa: PTH208
        except (OSError, ValueError):  # ValueError: a NUL in a root's name
            yield Found(Path(path), reason=Reason.unreadable)
            continue
        identity = _identity(path, status)
        if identity in seen:
            yield Found(Path(path), None, status.st_size, status.st_mtime_ns, repeat=True)
            continue
        seen.add(identity)
        if stat.S_ISDIR(status.st_mode):
            waiting.extend(os.path.join(path, name) for name in reversed(names))  # noqa: PTH118
        else:
            yield from _file(Path(path), status, named=path == root)


def _identity(path: str, status: os.stat_result) -> int | str:
    """The same for the same file or folder, by whichever links it is reached."""
    return status.st_dev << 64 | status.st_ino if status.st_ino else os.path.realpath(path)


def _file(path: Path, status: os.stat_result, *, named: bool) -> Iterator[Found]:
    """One file, or what is in it; ``named`` if it is a root itself."""
    found = Found(path, None, status.st_size, status.st_mtime_ns)
    if not stat.S_ISREG(status.st_mode):
        yield found.refused(Reason.unreadable)
    elif not status.st_size:
        yield found.refused(Reason.empty)
    elif named_archive(path.name) or (named and _looks_packed(path)):
        yield from members_of(found)
    else:
        yield found


def _looks_packed(path: Path) -> bool:
    """Whether a file begins as an archive does, and is neither DICOM (PS3.10 section 7.1) nor a mask."""
    if path.name.lower().endswith(".nii.gz"):
        return False
    try:
        with open_regular(path) as stream:
            head = stream.read(HEAD_BYTES)
    except (OSError, Quarantined):
        return False
    return head[128:132] != b"DICM" and kind_of(head) is not None
