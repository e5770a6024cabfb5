"""The folder of one task, and what lies in it until the answer was handed over.

    STATE/training/STUDY/TASK/NAME.checkpoint   how far training is
                              NAME.secret       what a private task's noise is drawn from
                              NAME.finished     the answer, before it is paid for and sent

STUDY is the digest of the study, TASK that of site, purpose, round, base and all else that the task asks,
and NAME the reservation that pays for it, or ``plain``.

Invariants:

- A finished answer is never written over: of two processes at one task the first one's counts for both.
- A reservation has one secret while it is open. So whatever is done again on it, however often, gives the
  same release as if nothing had happened: that a task was interrupted tells of nothing, even where it was a
  patient's case that made the process die.
- The secret is readable by its owner alone, and goes as soon as the answer is finished.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from flwr.app import RecordDict

from client.checkpoints.sealed import Writer, read_sealed, write_sealed
from common.errors import BlobRefused, EnvelopeRefused
from common.files import unwritable
from common.link.records import described, restored
from common.tasks import EvaluateTask, TrainTask

log = logging.getLogger("consilium.client")

TRAINING = "training"
PLAIN = "plain"
"""Name of what nothing is paid for."""

SECRET_BYTES = 32
_CHECKPOINT, _SECRET, _FINISHED = ".checkpoint", ".secret", ".finished"


@dataclass(frozen=True, slots=True)
class Finished:
    """An answer that was made and perhaps not sent.

    Attributes:
        name: What pays for it.
        facts: What its maker noted of it.
        content: The answer.
    """

    name: str
    facts: Mapping[str, Any]
    content: RecordDict


@dataclass(frozen=True, slots=True)
class TaskFolder:
    """The folder of one task; ``path`` is None where nothing outlives a task, and nothing is done here."""

    path: Path | None

    def checkpoint(self, name: str) -> Path | None:
        """Where checkpoints go."""
        return None if self.path is None else self.path / f"{name}{_CHECKPOINT}"

    def secret(self, name: str) -> bytes:
        """The secret bytes of what is called so: those that lie here, else fresh ones, put here first.

        Raises:
            DiskFull, OutputUnwritable: They cannot be put here.
        """
        if self.path is None:
            return secrets.token_bytes(SECRET_BYTES)
        path = self.path / f"{name}{_SECRET}"
        found = read_sealed(path)
        if found is not None:
            return bytes(found.body)
        # A checkpoint that was made with bytes that are lost is of no use with others.
        self._remove(f"{name}{_CHECKPOINT}", path.name)
        fresh = secrets.token_bytes(SECRET_BYTES)
        write_sealed(path, {}, lambda writer: writer.write(fresh), first=True)
        found = read_sealed(path)  # another process may have been quicker
        return bytes(found.body) if found is not None else fresh

    def finish(
        self, name: str, content: Callable[[], RecordDict], facts: Mapping[str, Any]
    ) -> Finished | None:
        """Put an answer here, on the disk when this returns, and let go of what it was made from.

        Args:
            name: What pays for it.
            content: Gives the answer.
            facts: Fit for JSON.

        Returns:
            The answer of a process that was quicker, which counts instead; None where this one counts.

        Raises:
            DiskFull, OutputUnwritable: It cannot be kept; nothing may be sent.
        """
        if self.path is None:
            return None
        description, parts = described(content())

        def write(writer: Writer) -> None:
            for pieces in parts.values():
                for piece in pieces:
                    writer.write(piece)

        header = {"facts": dict(facts), "records": description}
        quicker = None
        while quicker is None and not write_sealed(self._finished(name), header, write, first=True):
            quicker = self.finished(name)  # None if it is damaged; it is gone then
        self._remove(f"{name}{_CHECKPOINT}", f"{name}{_SECRET}")
        return quicker

    def finished(self, name: str) -> Finished | None:
        """The answer that was finished under a name; None if there is none that can be read.

        Raises:
            OutputUnwritable: One that cannot be read cannot be removed either.
        """
        if self.path is None:
            return None
        path = self._finished(name)
        sealed = read_sealed(path)
        if sealed is None:
            _unlink(path)  # a damaged one would stand in the way of the next
            return None
        records = sealed.header["records"]
        try:
            content = restored(records, _blobs(records, sealed.body).__getitem__)
        except (EnvelopeRefused, BlobRefused) as error:  # of a release that wrote records otherwise
            log.warning("a finished answer cannot be read (%s); the task is done again", error.code)
            _unlink(path)
            return None
        return Finished(name, sealed.header["facts"], content)

    def all_finished(self) -> Iterator[Finished]:
        """Every answer that was finished."""
        if self.path is not None:
            for path in sorted(self.path.glob(f"*{_FINISHED}")):
                found = self.finished(path.name.removesuffix(_FINISHED))
                if found is not None:
                    yield found

    def drop(self, name: str) -> None:
        """Forget all that is called so."""
        self._remove(*(f"{name}{ending}" for ending in (_CHECKPOINT, _SECRET, _FINISHED)))

    def clear(self) -> None:
        """Forget the task: its answer was handed over, or nobody wants it."""
        if self.path is not None:
            shutil.rmtree(self.path, ignore_errors=True)

    def _finished(self, name: str) -> Path:
        assert self.path is not None  # noqa: S101  asked of folders alone
        return self.path / f"{name}{_FINISHED}"

    def _remove(self, *names: str) -> None:
        if self.path is not None:
            for name in names:
                _unlink(self.path / name)


def task_folder(
    state: str, site: str, purpose: Literal["training", "evaluation"], task: TrainTask | EvaluateTask
) -> TaskFolder:
    """The folder of one task of one site.

    Args:
        state: :attr:`client.site.Site.state`.
        site: Its name.
        purpose: What the task is for.
        task: It; what the coordinator remembers of the ledger makes no other task of it.
    """
    if not state:
        return TaskFolder(None)
    asked = {**asdict(task), "ledger_head": "", "site": site, "purpose": purpose}
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    return TaskFolder(Path(state) / TRAINING / study_folder(task.study) / digest[:32])


def study_folder(study: str) -> str:
    """Name of the folder of all that belongs to a study, by its canonical text."""
    return hashlib.sha256(study.encode()).hexdigest()


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from None


def _blobs(description: Mapping[str, Any], body: memoryview) -> dict[str, memoryview]:
    """The blobs that a description names, which lie one after the other."""
    blobs, start = {}, 0
    for row in description["content"]:
        if row["kind"] == "arrays" and row["blob"] not in blobs:
            blobs[row["blob"]] = body[start : start + row["size"]]
            start += row["size"]
    return blobs
