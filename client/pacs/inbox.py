"""The inbox: a folder in which each object is a whole file or not there at all.

The pictures are still identified: the folder is its owner's alone (mode 0700, files 0600), and a file's name
is a digest of its SOP instance UID, never a name or number of a patient. A file is written under a hidden
name, synced and then renamed. An instance that is there already is kept as it is; if the same UID arrives
with another data set, that is kept beside it, so that the intake can see the conflict.
"""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

from client.pacs.partial import Account, Partial, sweep, trouble_of
from client.pacs.settings import Receiver
from client.pacs.tally import Arrival, Progress, Tally
from common.errors import DiskFull, OutputUnwritable
from common.files import unwritable

_MARK = 132  # length of the preamble and "DICM" of a Part 10 file (PS3.10 7.1)
_CHUNK = 2**20


class Inbox:
    """A folder that objects are received into; safe to be used by several threads.

    Args:
        folder: Made if it is not there.
        limits: Largest object, most bytes, least free space.
        progress: Told the tally after each arrival, from whichever thread received it.

    Raises:
        DiskFull, OutputUnwritable: The folder cannot be made.
    """

    def __init__(self, folder: Path, limits: Receiver, progress: Progress | None = None) -> None:
        self.folder = folder
        self.limits = limits
        self.tally = Tally()
        self.progress: Progress = progress or (lambda tally: None)
        self._lock = threading.Lock()
        self._open: set[Partial] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.chmod(0o700)
            sweep(folder)
            self._account = Account(folder, limits)
        except OSError as error:
            raise unwritable(folder, error) from None

    def __enter__(self) -> Inbox:
        return self

    def __exit__(self, *_: object) -> None:
        for partial in list(self._open):
            partial.discard()

    @property
    def last_activity_s(self) -> float:
        """When something arrived last, on the monotonic clock."""
        return self._account.last_activity_s

    def path(self, sop_uid: str) -> Path:
        """Where the instance with this SOP instance UID (0008,0018) is kept."""
        digest = hashlib.sha256(sop_uid.strip(" \0").encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest}.dcm"

    def holds(self, sop_uid: str) -> bool:
        """Whether the instance is here; a file that is here is whole."""
        return self.path(sop_uid).exists()

    def partial(self) -> Partial:
        """A file to be filled; nobody sees it before it is kept."""
        partial = Partial(self._account)
        with self._lock:
            self._open = {partial, *(one for one in self._open if one.is_open)}
        return partial

    def keep(self, partial: Partial, sop_uid: str) -> Arrival:
        """Give a filled file its name; returns what became of it. What is not kept is deleted."""
        arrival = partial.trouble or self._settle(partial, sop_uid)
        partial.discard()
        with self._lock:
            self.tally = self.tally.plus(arrival, partial.size_bytes)
            tally = self.tally
        self.progress(tally)
        return arrival

    def check_space(self) -> None:
        """Nothing, if the tally has no object that found no place.

        Raises:
            DiskFull: The disk or the inbox is full.
            OutputUnwritable: The folder could not be written.
        """
        if self.tally.no_space:
            raise DiskFull(
                f"{self.folder}: {self.tally.no_space} objects found no place "
                f"([receive] min_free_bytes and max_total_bytes say how much it may hold)"
            )
        if self.tally.unwritable:
            raise OutputUnwritable(f"{self.folder}: {self.tally.unwritable} objects could not be written")

    def _settle(self, partial: Partial, sop_uid: str) -> Arrival:
        place = self.path(sop_uid)
        try:
            partial.sync()
            place.parent.mkdir(mode=0o700, exist_ok=True)
            with self._lock:
                if place.exists():
                    digest = _digest_of_data(partial.path)
                    if digest == _digest_of_data(place):
                        return Arrival.already
                    place = place.with_name(f"{place.stem}-{digest[:16]}.dcm")
                    if place.exists():
                        return Arrival.already
                partial.publish(place)
            _sync_folder(place.parent)
        except OSError as error:
            return trouble_of(error)
        return Arrival.new


def _digest_of_data(path: Path) -> str:
    """Digest of a Part 10 file's data set, without its file meta information (group 0002)."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(_MARK + 8)  # value of (0002,0000), UL: bytes of the group that follow
        file.seek(_MARK + 12 + int.from_bytes(file.read(4), "little"))
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
