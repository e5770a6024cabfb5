"""Zip archives; their members can be read in any order.

zipfile lets no more come out of a member than its header says, so a header that claims little cannot hide
much, and the headers' sum bounds what the archive can ask for.
"""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator

from client.dicom.archive.capped import read_capped
from client.dicom.archive.packed import Member, OpenStream, beside, decoding, too_large
from client.dicom.outcomes import Quarantined, Reason

ENCRYPTED = 1  # general purpose bit 0 (PKWARE APPNOTE 4.4.4)
LINK_BYTES = 4096


class Zip:
    """A zip archive that is open; a :class:`~client.dicom.archive.packed.Packed`.

    Args:
        open_stream: Opens its file.
        limit_bytes: What may come out of it altogether.

    Raises:
        Quarantined: It is none, or broken.
    """

    def __init__(self, open_stream: OpenStream, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        with decoding():
            self._stream = open_stream()
        try:
            with decoding():
                self._zip = zipfile.ZipFile(self._stream)
        except Quarantined:
            self._stream.close()
            raise

    def members(self) -> Iterator[Member]:
        """Its entries in the order of its directory."""
        entries = self._zip.infolist()
        if sum(entry.file_size for entry in entries) > self._limit_bytes:
            raise too_large(self._limit_bytes)
        for position, entry in enumerate(entries):
            with decoding():
                member = self._member(position, entry)
            yield member

    def read(self, position: int, limit: int) -> bytes:
        """The content of one entry."""
        with decoding():
            entry = self._zip.infolist()[position]
            if entry.flag_bits & ENCRYPTED:
                raise Quarantined(Reason.archive_broken, "encrypted")
            with self._zip.open(entry) as stream:
                return read_capped(stream, limit, entry.file_size)

    def close(self) -> None:
        """Let go of the file below."""
        self._zip.close()
        self._stream.close()

    def _member(self, position: int, entry: zipfile.ZipInfo) -> Member:
        name, size_bytes = entry.filename, entry.file_size
        if name.endswith("/"):  # zipfile's own is_dir fails at an empty name
            return Member(position, name, "folder")
        if entry.flag_bits & ENCRYPTED:
            return Member(position, name, "file", size_bytes, Reason.archive_broken)
        if not stat.S_ISLNK(entry.external_attr >> 16):  # the upper half is the mode, where Unix made it
            return Member(position, name, "file", size_bytes, None if size_bytes else Reason.empty)
        try:
            target = self.read(position, LINK_BYTES).decode("utf-8", "surrogateescape")
        except Quarantined as refused:
            return Member(position, name, "file", size_bytes, refused.reason)
        return Member(position, name, "link", target=beside(name, target))
