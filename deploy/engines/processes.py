"""Child processes that live and die together.

Invariants: every process has a log file of its own; one that ends before it was asked to is an error that
names it; after ``stop`` no process is left, whoever started it; and should this process itself be killed, a
guardian does the same in its place.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from common.errors import DiskFull, EngineFailed, MachineError, PortTaken
from deploy.engines.stragglers import MARK_VARIABLE, end_marked, start_guardian

_TAIL_LINES = 15
_TAIL_BYTES = 16_384
_POLL_S = 0.02
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

# What the logs of a process say when it died of something a person can mend.
_KNOWN_CAUSES: tuple[tuple[str, type[MachineError]], ...] = (
    ("address already in use", PortTaken),
    ("no space left on device", DiskFull),
    ("database or disk is full", DiskFull),
)


@dataclass(frozen=True, slots=True)
class _Child:
    name: str
    log: Path
    process: subprocess.Popen[bytes]


class Processes:
    """A context manager that starts processes, watches them, and ends all of them when it is left.

    Args:
        folder: A private folder, the working directory of every process. It is gone in the end.
        environment: The environment of every process.
        keep_logs_in: Where the logs are copied to if the context is left with an exception.
        grace_s: How long a process may take to end by itself once asked to.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str], *, keep_logs_in: Path, grace_s: float = 3.0
    ) -> None:
        self.logs = folder / "logs"
        self._keep_logs_in = keep_logs_in
        self._folder = folder
        self._mark = secrets.token_hex(16)
        self._environment = {**environment, MARK_VARIABLE: self._mark}
        self._grace_s = grace_s
        self._children: list[_Child] = []

    def __enter__(self) -> Self:
        self.logs.mkdir(exist_ok=True)
        self._guardian = start_guardian(self._mark, self._folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
            # A taken port tells its whole story, and whoever picked a free one that was lost tries again.
            if error is not None and not isinstance(error, PortTaken):
                self._keep_logs()
        finally:
            self._dismiss_guardian()

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        piped: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Return a new process, the leader of a session of its own.

        Args:
            name: What to call it in errors; also its log file's name, so free of path separators.
            command: The program and its arguments.
            environment: Variables for this process alone.
            piped: Connect standard input and output to pipes instead of nothing and the log.
        """
        log = self.logs / f"{name}.log"
        with log.open("ab") as stream:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else stream,
                stderr=stream,
                cwd=self._folder,
                env={**self._environment, **(environment or {})},
                start_new_session=True,  # out of reach of the terminal's Ctrl-C, which is for us alone
            )
        self._children.append(_Child(name, log, process))
        return process

    def check(self) -> None:
        """Do nothing while all processes run.

        Raises:
            EngineFailed: One has ended; the message names it and shows the tail of its log.
            PortTaken: It ended because another program holds its port.
            DiskFull: It ended because the disk is full.
        """
        for child in self._children:
            if (status := child.process.poll()) is not None:
                raise self._death(child, status)

    def stop(self) -> None:
        """End all processes and what they have started: first asked, then killed."""
        try:
            self._signal_groups(signal.SIGTERM)
            self._wait()
        finally:
            # Reached with a second Ctrl-C as well, which only cuts the patience short.
            self._signal_groups(signal.SIGKILL)
            for child in self._children:
                child.process.wait()
                _close_pipes(child.process)
            end_marked(self._mark)
            self._children.clear()

    def _signal_groups(self, number: signal.Signals) -> None:
        for child in self._children:
            # Also where the leader has ended: what it started may still be there.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.process.pid, number)

    def _wait(self) -> None:
        deadline = time.monotonic() + self._grace_s
        while any(child.process.poll() is None for child in self._children):
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)

    def _keep_logs(self) -> None:
        # The error that brought us here matters more than a disk too full for its logs.
        with suppress(OSError):
            shutil.copytree(self.logs, self._keep_logs_in, dirs_exist_ok=True)

    def _death(self, child: _Child, status: int) -> MachineError:
        how = f"killed by signal {-status}" if status < 0 else f"with exit status {status}"
        last_lines = tail(child.log)
        message = f"{child.name} ended early, {how}. Its last lines:\n{last_lines or '(none)'}"
        for words, kind in _KNOWN_CAUSES:
            if words in last_lines.lower():
                return kind(message)
        return EngineFailed(message)

    def _dismiss_guardian(self) -> None:
        # It sweeps once more and removes the folder, as it would if we had been killed.
        _close_pipes(self._guardian)
        self._guardian.wait()


def tail(path: Path) -> str:
    """Return the last lines of a log, without colours; nothing if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            content = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(_COLOUR.sub("", content).splitlines()[-_TAIL_LINES:])


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            # What was not yet written to a process that is gone is of no interest any more.
            with suppress(BrokenPipeError):
                pipe.close()
