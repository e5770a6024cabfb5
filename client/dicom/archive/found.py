"""A file or a member of an archive, as it is met; nothing has been read of it yet."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from client.dicom.outcomes import Reason


@dataclass(frozen=True, slots=True)
class Found:
    """A file, or a member of an archive.

    Attributes:
        path: The file on the disk, absolute, as it was reached.
        member: Name inside the archive, made unique there; ``outer.zip//inner`` in an archive within. None
            for a file that is no archive, and for what concerns an archive as a whole.
        size_bytes: Of a member as its archive says, which may be wrong.
        modified_ns: When the file on the disk was last changed, in ns since the epoch.
        reason: Why it cannot be used, where that is known already.
        repeat: It is a file or folder that is found under another name too, and counts there.
        position: Which entry of the archive, and of the archive within; empty for a file.
        before_bytes: What must come out of a compressed archive first, if a process begins with this
            member. Reading it may take so much longer.
    """

    path: Path
    member: str | None = None
    size_bytes: int = 0
    modified_ns: int = 0
    reason: Reason | None = None
    repeat: bool = False
    position: tuple[int, ...] = ()
    before_bytes: int = 0

    @property
    def locator(self) -> str:
        """Text that stands for this file alone, the same in every intake; links in its path are resolved.

        Not the last one, where it leads to what has a locator already, or to nothing.
        """
        if self.member is not None:
            return f"{os.path.realpath(self.path)}//{self.member}"  # no real path holds two slashes
        if not self.repeat and self.reason is not Reason.unreadable:
            return os.path.realpath(self.path)
        link = os.path.join(os.path.realpath(self.path.parent), self.path.name)  # noqa: PTH118
        return f"{link}//" if self.repeat else link

    @property
    def name(self) -> str:
        """Path and member for the screen of this site, without characters that a terminal would obey."""
        text = str(self.path) if self.member is None else f"{self.path}//{self.member}"
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)

    def refused(self, reason: Reason) -> Found:
        """The same, with why it cannot be used."""
        return replace(self, reason=reason)
