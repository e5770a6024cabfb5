"""A file that only grows, its entries chained by hashes: JSON Lines, one entry a line.

Each entry names the digest of the one before it, so an entry that is changed, dropped or moved breaks the
chain from there on. The last number and digest also stand in a file beside it, the head: a chain that was cut
off at its end is noticed too. Whoever can rewrite both files can rewrite all of it; copies of the head that
are kept elsewhere answer that.

Invariants, with the process killed or the power cut at any moment:

- What ``OpenChain.append`` returned is on the disk: entry, head, and the folder that names them.
- Head and chain differ by one entry at most, the one that was being written.
- Nothing is added to, or taken from, a chain that is not what was written. A last line without its end was
  never returned to anybody; it is taken away before the next one is added.

A chain may go on in a further file: then the first entry there follows from the last one of the file before.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

from common.errors import ConsiliumError
from common.evidence.entry import (
    GENESIS,
    Entry,
    Fact,
    Facts,
    Head,
    canonical,
    follower,
    head_in,
    next_entry,
    read_entry,
)
from common.files import unwritable, write_atomically

__all__ = [
    "GENESIS", "HEAD_SUFFIX",
    "Chain", "Clock", "Entry", "Fact", "Facts", "Head", "OpenChain",
    "canonical", "locked", "next_entry", "read_entry", "replaced", "sync_folder", "utc_now", "write_whole",
]  # fmt: skip

Clock = Callable[[], datetime]

HEAD_SUFFIX = ".head"
_HINT = "Free some space, or mend the permissions of the file named above, and try again."


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class Chain:
    """The chain in one file; several processes may read it and add to it.

    Args:
        path: The file; its folder exists. The head lies beside it, with the ending ``.head``.
        broken: What to raise where the file is not what was written.
        now: The clock.
        before: What the content of the file follows from, where it goes on with another file; raises
            ``broken`` if that is not what was written.
        repaired: Event and facts of an entry that tells of a last line without its end, in the place of
            which it is written; None where such a line is taken away without a word.
    """

    def __init__(
        self,
        path: Path,
        broken: type[ConsiliumError],
        now: Clock = utc_now,
        *,
        before: Callable[[bytes], Head] = lambda content: Head(),
        repaired: Callable[[bytes], tuple[str, Facts]] | None = None,
    ) -> None:
        self.path = path
        self.head_path = path.with_suffix(HEAD_SUFFIX)
        self._broken = broken
        self._now = now
        self._before = before
        self._repaired = repaired

    def entries(self) -> tuple[Entry, ...]:
        """All entries, each checked against the one before it, the last against the head.

        Raises:
            ConsiliumError: ``broken``, which names the first entry that does not fit.
        """
        with self.reading() as entries:
            return entries

    @contextmanager
    def reading(self) -> Iterator[tuple[Entry, ...]]:
        """All entries, checked; during the block nobody adds to them.

        Raises:
            ConsiliumError: ``broken``, which names the first entry that does not fit.
        """
        with ExitStack() as stack:
            try:
                content = stack.enter_context(locked(self.path, os.O_RDONLY, fcntl.LOCK_SH)).readall()
            except FileNotFoundError:
                content = b""
            except OSError as error:
                raise self._broken(f"{self.path} cannot be read: {error.strerror or error}") from None
            yield self._verified(content).entries

    @contextmanager
    def opened(self, known: Callable[[FileIO], Entry | None] = lambda file: None) -> Iterator[OpenChain]:
        """The chain, checked, for a decision: during the block nobody else reads it or adds to it.

        Args:
            known: Asked about the locked file: its last entry, where the file is known not to have changed
                since it was checked. Head and file must agree; the rest is then not read, and that entry
                is the only one of the open chain. None for a file that must be checked.

        Raises:
            ConsiliumError: ``broken``; nothing was added to it or taken from it.
            DiskFull, OutputUnwritable: It cannot be written.
        """
        with ExitStack() as stack:
            with self.writing():
                file = stack.enter_context(locked(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT))
                last = known(file)
                if last is not None and self._head() == last.place.to_bytes():
                    opened = OpenChain(self, file, [last], checked=False)
                else:
                    opened = OpenChain(self, *self._checked(file, stack))
            yield opened

    def _checked(self, file: FileIO, stack: ExitStack) -> tuple[FileIO, list[Entry]]:
        """The locked file and its entries, with everything mended that a crash leaves behind."""
        content = file.readall()
        found = self._verified(content)
        entries = list(found.entries)
        if found.behind:
            self.write_head(entries[-1])
        whole = len(content) - len(found.torn)
        if found.torn and self._repaired:
            # In one step: the line is not gone before it is told that it was there.
            sync_folder(self.path.parent)
            last = entries[-1].place if entries else self._before(content)
            entries.append(next_entry(last, self.time(), *self._repaired(found.torn)))
            file = stack.enter_context(replaced(self.path, content[:whole] + entries[-1].to_line()))
            self.write_head(entries[-1])
        elif found.torn:
            file.truncate(whole)
        return file, entries

    def head(self) -> Head:
        """What the file of the head says.

        Raises:
            ConsiliumError: ``broken``; it says nothing that can be understood.
        """
        content = self._head()
        found = head_in(content) if content else Head()
        if found is None:
            raise self._broken(f"{self.head_path} names no entry")
        return found

    def write_head(self, entry: Entry) -> None:
        """Let the head name ``entry``, on the disk."""
        write_atomically(self.head_path, entry.place.to_bytes(), 0o600)
        sync_folder(self.path.parent)

    def time(self) -> str:
        """What the clock says, as entries have it."""
        return self._now().isoformat(timespec="seconds")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Code what the disk refuses during the block.

        Raises:
            DiskFull, OutputUnwritable: It does.
        """
        try:
            yield
        except OSError as error:
            coded = unwritable(self.path, error)
            coded.hint = _HINT
            raise coded from None

    def _verified(self, content: bytes) -> _Verified:
        *lines, torn = content.split(b"\n")
        before = self._before(content)
        entries: list[Entry] = []
        for line in lines:
            last = entries[-1].place if entries else before
            try:
                entries.append(follower(line, last))
            except ValueError as why:
                raise self._broken(f"{self.path}: entry {last.number + 1} {why}") from None
        return _Verified(tuple(entries), torn, self._is_behind([before, *(each.place for each in entries)]))

    def _is_behind(self, places: Sequence[Head]) -> bool:
        """Whether the head names the entry before the last: the process ended between the two."""
        head = self._head()
        if head == places[-1].to_bytes():
            return False
        if len(places) > 1 and head == places[-2].to_bytes():
            return True
        raise self._broken(
            f"{self.path} ends with entry {places[-1].number}; {self.head_path.name} says otherwise"
        )

    def _head(self) -> bytes:
        try:
            return self.head_path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self._broken(f"{self.head_path} cannot be read: {error.strerror or error}") from None


@dataclass(frozen=True, slots=True)
class _Verified:
    """Content that is what was written: whole entries, and perhaps a beginning of one more."""

    entries: tuple[Entry, ...]
    torn: bytes
    behind: bool


@dataclass(slots=True)
class OpenChain:
    """A chain that was checked, while it is locked.

    Attributes:
        chain: Whose it is.
        file: Locked.
        entries: All in the file, or the last alone.
        checked: Whether all were checked just now; if not, the file is as it was left by one who had.
    """

    chain: Chain
    file: FileIO
    entries: list[Entry]
    checked: bool = True

    @property
    def size_bytes(self) -> int:
        """How large the file is."""
        return os.fstat(self.file.fileno()).st_size

    def append(self, event: str, facts: Facts) -> Entry:
        """The entry that now ends the chain; it is on the disk when this returns.

        Raises:
            DiskFull, OutputUnwritable: It cannot be written. It may be there all the same.
        """
        last = self.entries[-1].place if self.entries else Head()
        entry = next_entry(last, self.chain.time(), event, facts)
        folder = self.chain.path.parent
        with self.chain.writing():
            # Who wrote the last head may have been killed before it was on the disk, and must not fall
            # two entries behind if the power is cut now.
            sync_folder(folder)
            write_whole(self.file, entry.to_line())
            self.chain.write_head(entry)
            if not self.entries:  # the folder may be as new as the file
                sync_folder(folder.parent)
        self.entries.append(entry)
        return entry


@contextmanager
def locked(path: Path, flags: int, lock: int = fcntl.LOCK_EX) -> Iterator[FileIO]:
    """The file that is at ``path`` once it is locked, unbuffered; only its owner may read it.

    Raises:
        FileNotFoundError: There is none, and ``flags`` do not make one.
        OSError: It cannot be opened.
    """
    while True:
        with FileIO(os.open(path, flags, 0o600), "r+" if flags & os.O_RDWR else "r") as file:
            # Not unasked: a change of the mode counts as one of the file.
            if flags & os.O_RDWR and os.fstat(file.fileno()).st_mode & 0o777 != 0o600:
                os.fchmod(file.fileno(), 0o600)
            fcntl.flock(file, lock)
            if _is_at(path, file):
                yield file
                return


def _is_at(path: Path, file: FileIO) -> bool:
    """Whether the file was not replaced by another while its lock was waited for."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def write_whole(file: FileIO, data: bytes) -> None:
    """Add all of ``data``, on the disk."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]
    os.fsync(file.fileno())


@contextmanager
def replaced(path: Path, content: bytes) -> Iterator[FileIO]:
    """Put a new file at ``path`` in one step, on the disk; during the block nobody else opens it."""
    partial = path.with_name(f".{path.name}.partial")
    with locked(partial, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC) as file:
        write_whole(file, content)
        partial.replace(path)
        sync_folder(path.parent)
        yield file


def sync_folder(folder: Path) -> None:
    """Have the names of the folder's files on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
