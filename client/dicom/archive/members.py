"""What is in one archive of the disk.

An archive inside an archive is looked into, one inside that is not. Links lead nowhere: what they point to
is found under its own name, or lies outside the archive.
"""

from __future__ import annotations

import io
import posixpath
from collections.abc import Iterator

from client.dicom.archive.found import Found
from client.dicom.archive.opening import named_archive, nested_bytes, open_packed, open_regular
from client.dicom.archive.packed import Member, OpenStream, Packed
from client.dicom.outcomes import Quarantined, Reason


def members_of(archive: Found) -> Iterator[Found]:
    """The files in an archive; the archive itself where it is broken, too large, or holds none."""
    yield from _Listing().of(archive)


class _Listing:
    """The members of one archive of the disk, and of those within."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def of(self, archive: Found) -> Iterator[Found]:
        yield from self._inside(archive, lambda: open_regular(archive.path), archive.size_bytes)

    def _inside(self, archive: Found, open_stream: OpenStream, size_bytes: int) -> Iterator[Found]:
        count = 0
        try:
            packed = open_packed(open_stream, archive.member or archive.path.name, size_bytes)
            try:
                for found in self._entries(archive, packed):
                    count += 1
                    yield found
            finally:
                packed.close()
        except Quarantined as refused:
            yield archive.refused(refused.reason)
        else:
            if not count:
                yield archive.refused(Reason.empty)

    def _entries(self, archive: Found, packed: Packed) -> Iterator[Found]:
        names: set[str] = set()
        links: list[Member] = []
        for member in packed.members():
            if member.kind == "link":
                links.append(member)
                continue
            names.add(posixpath.normpath(member.name))
            if member.kind != "folder":
                yield from self._entry(packed, member, self._found(archive, member))
        for link in links:
            found = self._found(archive, link)
            yield found if link.target in names else found.refused(Reason.unreadable)

    def _entry(self, packed: Packed, member: Member, found: Found) -> Iterator[Found]:
        if found.reason is not None or not named_archive(member.name):
            yield found
        elif len(found.position) > 1:
            yield found.refused(Reason.archive_too_large)
        else:
            try:
                data = nested_bytes(packed, member.position)
            except Quarantined as refused:
                yield found.refused(refused.reason)
            else:
                yield from self._inside(found, lambda: io.BytesIO(data), len(data))

    def _found(self, archive: Found, member: Member) -> Found:
        prefix = "" if archive.member is None else f"{archive.member}//"
        return Found(
            archive.path,
            self._unique(prefix + member.name),
            member.size_bytes,
            archive.modified_ns,
            Reason.unreadable if member.kind == "other" else member.reason,
            repeat=member.kind == "link",
            position=(*archive.position, member.position),
            before_bytes=archive.before_bytes + member.before_bytes,
        )

    def _unique(self, name: str) -> str:
        """The name, with a number behind it from its second time on."""
        unique, times = name, self._taken.get(name, 0) + 1
        self._taken[name] = times
        while unique in self._taken and times > 1:
            unique, times = f"{name} ({times})", times + 1
        self._taken.setdefault(unique, 1)
        return unique
