"""Tasks between being taken and being acknowledged: what is owed to the coordinator, on the disk.

    expected/TASK   a task that was taken: the digest of its envelope. It may be offered again after a restart
    replies/TASK    a finished reply, in the order of their numbers, and the digests of its weights
    blobs/          the weights

Invariants, with the process killed or the power cut at any moment:

- What ``put`` returned from is on the disk, weights first: a reply that is there is whole.
- Nothing but ``remove`` with the digest of exactly this reply takes it away.
- A task is expected or answered or neither; where a crash left both marks, the reply counts.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from common.chain import canonical, sync_folder
from common.errors import EnvelopeRefused, HomeInvalid, OutputUnwritable
from common.files import unwritable, write_atomically
from common.link.blobs import BlobStore
from common.link.envelope import Sealed

LIMIT_BYTES = 8 * 2**30

_DAMAGED = "Keep the file elsewhere, and start again: the coordinator will go without that reply."
_TASK = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class HeldReply:
    """A reply that the coordinator has not acknowledged.

    Attributes:
        number: Its place in the order in which replies were finished.
        task: The task it answers.
        sealed: What was signed.
        blobs: Digests of the weights it names.
    """

    number: int
    task: str
    sealed: Sealed
    blobs: tuple[str, ...]

    def to_line(self) -> bytes:
        """The reply as it stands in its file."""
        return canonical(
            {
                "blobs": list(self.blobs),
                "body": base64.b64encode(self.sealed.body).decode(),
                "number": self.number,
                "signature": base64.b64encode(self.sealed.signature).decode(),
                "task": self.task,
            }
        )

    @classmethod
    def of_line(cls, line: bytes) -> HeldReply:
        """The reply that a file holds.

        Raises:
            ValueError, KeyError, TypeError: It is not what :meth:`to_line` wrote.
        """
        document = json.loads(line)
        body, signature = (base64.b64decode(document[name]) for name in ("body", "signature"))
        number, blobs = int(document["number"]), tuple(map(str, document["blobs"]))
        return cls(number, str(document["task"]), Sealed(body, signature), blobs)


class Outbox:
    """The replies in one folder; one process uses it, with as many threads as it likes.

    Args:
        folder: Where; made if it is not there.
        limit_bytes: How much room the weights may take.

    Raises:
        HomeInvalid: A reply in it is not as it was written; nothing was removed.
        DiskFull, OutputUnwritable: The folder cannot be used.
    """

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self._expected, self._replies = folder / "expected", folder / "replies"
        for place in (folder, self._expected, self._replies):
            _make(place)
        self.blobs = BlobStore(folder / "blobs", limit_bytes)
        self._listener: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._held = {reply.task: reply for reply in sorted(self._read(), key=lambda each: each.number)}
        self._number = max((reply.number for reply in self._held.values()), default=0)
        self._tidy()

    def expect(self, task: str, digest: str) -> None:
        """Note that a task was taken, by the digest of its envelope; on the disk when this returns.

        Raises:
            EnvelopeRefused: That is no task's id.
            DiskFull, OutputUnwritable: It cannot be written.
        """
        with self._lock:
            write_atomically(self._expected / _checked(task), digest, 0o600)
            sync_folder(self._expected)

    def expected(self, task: str) -> str | None:
        """Digest of the envelope of a task that was taken and not answered; None if there is no such task."""
        with self._lock:
            if not _TASK.fullmatch(task) or task in self._held:
                return None
            try:
                return (self._expected / task).read_text("ascii")
            except FileNotFoundError:
                return None

    def forget(self, task: str) -> None:
        """Expect no reply to a task any more; one that is there stays."""
        with self._lock:
            (self._expected / _checked(task)).unlink(missing_ok=True)

    def put(self, task: str, sealed: Sealed, blobs: Collection[str], made: BlobStore) -> None:
        """Keep a finished reply until it is acknowledged; on the disk when this returns.

        Args:
            task: What it answers.
            sealed: What was signed.
            blobs: Digests of the weights that it names.
            made: Where these are by now; they need not stay there.

        Raises:
            EnvelopeRefused: The task has a reply already.
            BlobRefused: There is no room for the weights.
            DiskFull, OutputUnwritable: It cannot be written.
        """
        with self._lock:
            path = self._replies / _checked(task)
            if task in self._held:
                raise EnvelopeRefused(f"task {task} has been answered already")
            for digest in blobs:
                self.blobs.adopt(made, digest)
            self._number += 1
            reply = HeldReply(self._number, task, sealed, tuple(blobs))
            write_atomically(path, reply.to_line(), 0o600)
            sync_folder(self._replies)
            self._held[task] = reply
            (self._expected / task).unlink(missing_ok=True)
            listener = self._listener
        if listener is not None:
            listener()

    def listen(self, listener: Callable[[], None] | None) -> None:
        """Call ``listener`` from now on whenever a reply was put in."""
        with self._lock:
            self._listener = listener

    def held(self) -> tuple[HeldReply, ...]:
        """The replies that are not acknowledged, oldest first."""
        with self._lock:
            return tuple(self._held.values())

    def holds(self, task: str) -> bool:
        """Whether a task's reply is here."""
        with self._lock:
            return task in self._held

    def remove(self, task: str, digest: str) -> bool:
        """Whether a task's reply was here with this digest; if so it is no more.

        Raises:
            OutputUnwritable: It cannot be removed.
        """
        with self._lock:
            reply = self._held.get(task)
            if reply is None or reply.sealed.digest != digest:
                return False
            try:
                (self._replies / task).unlink(missing_ok=True)
                sync_folder(self._replies)
            except OSError as error:
                raise unwritable(self._replies / task, error) from None
            del self._held[task]
            self._tidy()
            return True

    def expire(self, oldest: float) -> tuple[str, ...]:
        """Tasks whose replies were finished before ``oldest`` (seconds since 1970) and are now given up.

        Raises:
            OutputUnwritable: They cannot be removed.
        """
        with self._lock:
            try:
                for path in self._expected.iterdir():
                    _unlink_older(path, oldest)
                old = tuple(task for task in self._held if _unlink_older(self._replies / task, oldest))
            except OSError as error:
                raise unwritable(self._replies, error) from None
            for task in old:
                del self._held[task]
            self._tidy()
            return old

    def _read(self) -> list[HeldReply]:
        replies = []
        for path in self._replies.iterdir():
            if not _TASK.fullmatch(path.name):
                continue  # what a write that was cut off left behind
            try:
                reply = HeldReply.of_line(path.read_bytes())
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise HomeInvalid(f"{path} cannot be read: {error}", hint=_DAMAGED) from None
            if reply.task != path.name:
                raise HomeInvalid(f"{path} answers another task", hint=_DAMAGED)
            replies.append(reply)
        return replies

    def _tidy(self) -> None:
        """Let go of weights that no reply names any more."""
        self.blobs.keep({digest for reply in self._held.values() for digest in reply.blobs})


def _checked(task: str) -> str:
    """The id of a task, fit to name a file."""
    if not _TASK.fullmatch(task):
        raise EnvelopeRefused(f"{task[:64]!r} is no task")
    return task


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None
    if not folder.is_dir():
        raise OutputUnwritable(f"{folder} is no folder")


def _unlink_older(path: Path, oldest: float) -> bool:
    """Whether the file was written before ``oldest``; if so it is no more."""
    if path.stat().st_mtime >= oldest:
        return False
    path.unlink()
    return True
