"""Opening archives and files: what kind of archive a file is, and how it is opened without waiting for it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

from client.dicom.archive.packed import OpenStream, Packed, allowance, decoding
from client.dicom.archive.tarred import INFLATE, Tar
from client.dicom.archive.zipped import Zip
from client.dicom.outcomes import Quarantined, Reason

NESTED_BYTES = 2**28
"""Largest archive inside an archive; it is held in memory while its members are read."""

SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tbz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")
"""Ends of names, in lower case, of files that are archives."""

HEAD_BYTES = 262
MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),  # without members
    (b"PK\x07\x08", "zip"),  # meant to be split
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)


def named_archive(name: str) -> bool:
    """Whether a file of this name says that it is an archive."""
    return name.lower().endswith(SUFFIXES)


def kind_of(head: bytes) -> str | None:
    """``zip``, ``gzip``, ``bzip2``, ``xz`` or ``tar`` by a file's first ``HEAD_BYTES``; None if neither."""
    for magic, kind in MAGIC:
        if head.startswith(magic):
            return kind
    return "tar" if head[257:262] == b"ustar" else None


def open_packed(open_stream: OpenStream, name: str, size_bytes: int) -> Packed:
    """An archive, opened.

    Args:
        open_stream: Opens its file.
        name: Its name, which decides where its first bytes do not: a program may stand before a zip, and
            the oldest tars have no mark.
        size_bytes: How large it is.

    Raises:
        Quarantined: ``archive_broken`` or ``unreadable``.
    """
    with decoding(), open_stream() as stream:
        kind = kind_of(stream.read(HEAD_BYTES)) or name.lower().rpartition(".")[2]
    if kind == "zip":
        return Zip(open_stream, allowance(size_bytes))
    if kind == "tar" or kind in INFLATE:
        return Tar(open_stream, kind, allowance(size_bytes))
    raise Quarantined(Reason.archive_broken, "not the kind of archive that its name says")


def open_regular(path: Path) -> IO[bytes]:
    """A regular file, opened; since it was found it may have become something else.

    Raises:
        Quarantined: It is a pipe, a device or a folder. OSError passes through.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would be waited for
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Quarantined(Reason.unreadable, "not a regular file")
    return open(descriptor, "rb")  # noqa: PTH123  a descriptor has no Path


def nested_bytes(packed: Packed, position: int) -> bytes:
    """An archive inside an archive.

    Raises:
        Quarantined: ``archive_too_large`` beyond ``NESTED_BYTES``, or why it cannot be read.
    """
    try:
        return packed.read(position, NESTED_BYTES)
    except Quarantined as refused:
        if refused.reason is Reason.too_large:
            raise Quarantined(Reason.archive_too_large, refused.detail) from None
        raise
