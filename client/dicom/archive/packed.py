"""What archives have in common: entries, limits, and the edge at which their failures become reasons.

Entries are known by their position, since names may repeat. No header is believed: an archive whose entries
say that they hold more than :func:`allowance` of its own size is refused, and so is one that turns out to.
Nothing is ever written to a disk, so that a name such as ``../x`` leads nowhere.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Literal, Protocol

from client.dicom.outcomes import Quarantined, Reason

FREE_BYTES = 2**30
RATIO = 200

OpenStream = Callable[[], IO[bytes]]
"""Opens an archive's file at its beginning; asked again where it must be read once more."""


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of an archive.

    Attributes:
        position: Which entry, from 0.
        name: As the archive has it; it may repeat, be absolute or hold ``..``.
        kind: ``other`` is a pipe or a device.
        size_bytes: As its header says.
        reason: Why it cannot be read, where that is known.
        target: Of a link: the name of the entry that it leads to.
        before_bytes: What must come out of a compressed tar before it, if reading starts anew.
    """

    position: int
    name: str
    kind: Literal["file", "folder", "link", "other"]
    size_bytes: int = 0
    reason: Reason | None = None
    target: str = ""
    before_bytes: int = 0


class Packed(Protocol):
    """An archive that is open."""

    def members(self) -> Iterator[Member]:
        """Its entries in its own order.

        Raises:
            Quarantined: It is too large, or broken from here on.
        """

    def read(self, position: int, limit: int) -> bytes:
        """The content of one entry.

        Raises:
            Quarantined: It cannot be had, is empty, or holds more than ``limit`` bytes.
        """

    def close(self) -> None:
        """Let go of the file below."""


def allowance(size_bytes: int) -> int:
    """How many bytes may come out of an archive of this size: 1 GiB, and 200 for each of its own.

    Pictures shrink to a half or a tenth. Masks that are nearly empty shrink a thousandfold, which the first
    gibibyte has room for.
    """
    return FREE_BYTES + RATIO * size_bytes


def too_large(limit_bytes: int) -> Quarantined:
    """What is raised at an archive that asks for more than its allowance."""
    return Quarantined(Reason.archive_too_large, f"more than {limit_bytes} bytes would come out of it")


def beside(name: str, target: str) -> str:
    """What a symbolic link of this name leads to, seen from the archive's root."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), target))


@contextmanager
def decoding() -> Iterator[None]:
    """Turns whatever reading an archive raises into Quarantined."""
    try:
        yield
    except Quarantined:
        raise
    except OSError as error:
        # gzip and bz2 also say OSError where the content is broken, but only the system gives a number.
        reason = Reason.archive_broken if error.errno is None else Reason.unreadable
        raise Quarantined(reason, type(error).__name__) from None
    except MemoryError:
        raise Quarantined(Reason.memory) from None
    # The decoders' edge: broken archives make zipfile, tarfile and the inflaters raise some dozen types, from
    # zlib.error and LZMAError to NotImplementedError, KeyError and RecursionError. Only the type is told.
    except Exception as error:  # noqa: BLE001
        raise Quarantined(Reason.archive_broken, type(error).__name__) from None
