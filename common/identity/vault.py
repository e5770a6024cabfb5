"""Files that hold secrets: new ones are never anybody else's, and unsafe ones are not read.

What is checked is what was opened, not what a path named a moment before, so that nothing can be put in its
place in between.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from io import FileIO
from pathlib import Path

from common.errors import IdentityExists, KeyUnreadable, KeyUnsafe
from common.files import unwritable

_SIZE_LIMIT = 64 * 1024  # a key is a few hundred bytes; a path that is something else is not read whole
_OTHERS = 0o077
_LINK_HINT = "Name the file itself, in its own folder; a link may be turned to another."
_OWNER_HINT = "Run this as the user that the key belongs to, or give the file and its folder to this user."
_NOT_FOLLOWED = os.O_NOFOLLOW | os.O_CLOEXEC


class Folder(IntEnum):
    """What the mode of a secret's folder must not hold."""

    ANY = 0
    UNCHANGEABLE = 0o022
    CLOSED = 0o077


def write_secret(path: Path, content: bytes, folder: Folder) -> None:
    """Write a new file with mode 0600 from its first instant, on the disk when this returns.

    Raises:
        IdentityExists: Something is there already; it stays as it is.
        KeyUnsafe: The folder does not keep others out.
        DiskFull, OutputUnwritable: It cannot be written, and nothing of it is left.
    """
    try:
        with _opened_folder(path, folder) as handle:
            _create(path.name, content, handle)
    except FileExistsError:
        raise IdentityExists(f"{path} is there already") from None
    except OSError as error:
        raise unwritable(path, error) from None


def read_secret(path: Path, folder: Folder) -> bytes:
    """What is in a file that nobody but this user could have read.

    Raises:
        KeyUnsafe: Others can open it, it is not this user's, it is no regular file (a symbolic link is
            none), or its folder does not keep others out.
        KeyUnreadable: There is none, or it is too large to be a secret.
    """
    try:
        with _opened_folder(path, folder) as handle:
            return _read(path, handle)
    except OSError as error:
        raise KeyUnreadable(f"{path}: {error.strerror}") from None


@contextmanager
def _opened_folder(path: Path, allowed: Folder) -> Iterator[int]:
    """A handle of the folder that holds ``path``."""
    name = path.parent
    if allowed and name.is_symlink():
        raise KeyUnsafe(f"{name} is a symbolic link", hint=_LINK_HINT)
    handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | (_NOT_FOLLOWED if allowed else os.O_CLOEXEC))
    try:
        _check(name, os.fstat(handle), allowed, owned=allowed is Folder.CLOSED)
        yield handle
    finally:
        os.close(handle)


def _read(path: Path, folder: int) -> bytes:
    if stat.S_ISLNK(os.lstat(path.name, dir_fd=folder).st_mode):
        raise KeyUnsafe(f"{path} is a symbolic link", hint=_LINK_HINT)
    # Not blocking: a pipe that nobody writes to is told apart, not waited for.
    handle = os.open(path.name, os.O_RDONLY | os.O_NONBLOCK | _NOT_FOLLOWED, dir_fd=folder)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise KeyUnsafe(f"{path} is no regular file")
        _check(path, found, _OTHERS, owned=True)
        content = FileIO(handle, closefd=False).read(_SIZE_LIMIT + 1) or b""
    finally:
        os.close(handle)
    if len(content) > _SIZE_LIMIT:
        raise KeyUnreadable(f"{path} is larger than any key")
    return content


def _check(path: Path, found: os.stat_result, forbidden: int, *, owned: bool) -> None:
    if found.st_mode & forbidden:
        raise KeyUnsafe(f"{path} has mode {stat.S_IMODE(found.st_mode):04o}; others may use it")
    if owned and found.st_uid != os.geteuid():
        raise KeyUnsafe(f"{path} belongs to user {found.st_uid}, not to {os.geteuid()}", hint=_OWNER_HINT)


def _create(name: str, content: bytes, folder: int) -> None:
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOT_FOLLOWED, 0o600, dir_fd=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
        os.fsync(folder)
    except OSError:
        os.unlink(name, dir_fd=folder)  # half a key would stand in the way of the next attempt
        raise
