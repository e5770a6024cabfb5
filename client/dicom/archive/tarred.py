"""Tar archives, plain or compressed, read forwards.

A compressed tar can only be read from its beginning. It stays open where it was left, so members read in
their order cost one pass altogether, and those in between only their inflating; a step back starts it again.
In a plain tar, what lies in between is skipped.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import posixpath
import tarfile
from collections.abc import Callable, Iterator
from typing import IO, Any, Self, cast

from client.dicom.archive.capped import Capped, read_capped
from client.dicom.archive.packed import Member, OpenStream, beside, decoding, too_large
from client.dicom.outcomes import Quarantined, Reason

BLOCK_BYTES = 2**16


def _gzip(stream: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], gzip.GzipFile(fileobj=stream, mode="rb"))


def _bzip2(stream: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], bz2.BZ2File(stream))


def _xz(stream: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], lzma.LZMAFile(stream))


# Python's own, because tarfile's stops at the end of the first of several joined gzip streams.
INFLATE: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {"gzip": _gzip, "bzip2": _bzip2, "xz": _xz}


class Tar:
    """A tar archive; a :class:`~client.dicom.archive.packed.Packed`.

    Args:
        open_stream: Opens its file, whenever it must be read from the beginning.
        kind: A key of ``INFLATE``, or ``tar``.
        limit_bytes: What may come out of it altogether.
    """

    def __init__(self, open_stream: OpenStream, kind: str, limit_bytes: int) -> None:
        self._open_stream = open_stream
        self._inflate = INFLATE.get(kind)
        self._limit_bytes = limit_bytes
        self._streams: list[IO[bytes]] = []
        self._tar: tarfile.TarFile | None = None
        self._entry: tarfile.TarInfo | None = None
        self._position = -1
        self._unread = False  # the entry at the position

    def members(self) -> Iterator[Member]:
        """Its entries in its own order; the one given last can be read before the next is asked for."""
        self.close()
        declared = 0
        while (entry := self._next()) is not None:
            # A sparse member says more than the archive holds, and all of it would come out.
            declared += entry.size if entry.isreg() else 0
            if declared > self._limit_bytes:
                raise too_large(self._limit_bytes)
            yield _member(self._position, entry, entry.offset if self._inflate else 0)

    def read(self, position: int, limit: int) -> bytes:
        """The content of one entry."""
        if position < self._position or (position == self._position and not self._unread):
            self.close()
        while self._position < position:
            if self._next() is None:
                raise Quarantined(Reason.archive_broken, "it ends before this member")
        with decoding():
            return self._content(limit)

    def close(self) -> None:
        """Let go of the file below; reading starts again."""
        if self._tar is not None:
            self._tar.close()
        while self._streams:
            self._streams.pop().close()
        self._tar = self._entry = None
        self._position = -1

    def _content(self, limit: int) -> bytes:
        entry, self._unread = self._entry, False
        content = self._tar.extractfile(entry) if self._tar and entry and entry.isreg() else None
        if entry is None or content is None:
            raise Quarantined(Reason.unreadable, "a link, a pipe or a device in an archive")
        with content:
            return read_capped(content, limit, entry.size)

    def _next(self) -> tarfile.TarInfo | None:
        with decoding():
            self._tar = tar = self._tar or self._begin()
            self._entry = tar.next()
            tar.members.clear()  # type: ignore[attr-defined]  # else it keeps each header that it has read
        self._position, self._unread = self._position + 1, True
        return self._entry

    def _begin(self) -> tarfile.TarFile:
        stream = self._open_stream()
        self._streams.append(stream)
        if self._inflate is not None:
            inflated = self._inflate(stream)
            capped = Capped(inflated, self._limit_bytes, lambda: too_large(self._limit_bytes))
            self._streams.append(cast(IO[bytes], capped))
        try:
            return self._opened()
        except BaseException:  # Ctrl-C too must not leave streams open; it is raised again
            self.close()
            raise

    def _opened(self) -> tarfile.TarFile:
        stream = self._streams[-1]
        how: dict[str, Any] = {"tarinfo": _Header, "encoding": "utf-8", "errors": "surrogateescape"}
        if self._inflate is None:
            return tarfile.open(fileobj=stream, mode="r:", **how)
        # In the mode "r:" tarfile steps back by a byte between members, and gzip would start again.
        return tarfile.open(fileobj=stream, mode="r|", bufsize=BLOCK_BYTES, **how)


class _Header(tarfile.TarInfo):
    """A header of a tar. Where one is broken or missing, tarfile takes that for the archive's end."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        """See tarfile."""
        try:
            return super().fromtarfile(tarfile)
        except _HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":  # the zeros that end an archive
                raise
            raise Quarantined(Reason.archive_broken, type(error).__name__) from None


_HeaderError = tarfile.HeaderError


def _member(position: int, entry: tarfile.TarInfo, before_bytes: int) -> Member:
    name = entry.name
    if entry.isreg():
        reason = None if entry.size else Reason.empty
        return Member(position, name, "file", entry.size, reason, before_bytes=before_bytes)
    if entry.isdir():
        return Member(position, name, "folder")
    if entry.islnk():
        return Member(position, name, "link", target=posixpath.normpath(entry.linkname))
    if entry.issym():
        return Member(position, name, "link", target=beside(name, entry.linkname))
    return Member(position, name, "other")
