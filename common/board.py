"""A status in a file that one process writes and any other may read, and whether the writer still lives.

The writer holds a lock beside the file until it ends, however it ends. A process id would not do: a process
that was killed left one behind, and in a container the next one has the same.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import DiskFull, OutputUnwritable
from common.files import unwritable, write_atomically

LOCK_SUFFIX = ".lock"
_TRIES, _PAUSE_S = 50, 0.01  # a reader holds the lock for microseconds


@dataclass(frozen=True, slots=True)
class Posted:
    """What is on a board.

    Attributes:
        document: What was written last; empty if nothing was.
        alive: Whether the process that wrote it lives.
    """

    document: Mapping[str, Any]
    alive: bool


class Board:
    """Where one process writes how it stands.

    Args:
        path: The file; its folder exists when something is written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None

    def write(self, document: Mapping[str, Any]) -> None:
        """Put a document in the place of the last one; where it cannot, the daemon goes on without."""
        with suppress(DiskFull, OutputUnwritable):
            if self._lock is None:
                self._lock = _locked(self._path.with_suffix(LOCK_SUFFIX))
            write_atomically(self._path, json.dumps(document, indent=1) + "\n", 0o600)

    def close(self) -> None:
        """Let go of the lock: who wrote works no more."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def posted(path: Path) -> Posted:
    """What was written to a board last, by a process that lives or not."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        document = {}
    return Posted(document if isinstance(document, dict) else {}, is_held(path.with_suffix(LOCK_SUFFIX)))


def _locked(path: Path) -> int:
    """The lock, held until its descriptor is closed."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unwritable(path, error) from None
    for _ in range(_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            time.sleep(_PAUSE_S)
    return handle  # another process has it, and is the one that readers are told of


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of a file; asking does not wait, and changes nothing."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
