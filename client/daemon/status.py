"""How the site stands, in a file that anybody at the hospital's machine may be shown.

It tells apart what is often taken for one: a process that runs, a link that stands, a study that is approved,
data that is there, and training that goes on.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from common import __version__
from common.board import Board, posted
from common.chain import Clock, utc_now
from common.contract import code_digest
from common.errors import ConsiliumError

STATUS_FILE = "link/status.json"
_KILLED = (
    "It ended without a word: killed, or the power failed. The system's log may say why; start it again."
)


@dataclass(frozen=True, slots=True)
class SiteStatus:
    """How the site stands.

    Attributes:
        running: Whether the daemon runs.
        link: ``disconnected``, ``connecting``, ``connected`` or ``refused``.
        since: Since when, in UTC.
        task: What it is at: kind and study; empty for nothing.
        task_since: Since when, in UTC.
        problem: Code of what is in the link's way, or of how the daemon ended; empty for nothing.
        hint: What to do about it.
        process: The daemon's process id.
        tried: Whether the link has been tried: whoever trains was ready before that.
        release: Of the code that the daemon began with.
        code_digest: Of that code.
    """

    running: bool = False
    link: str = "disconnected"
    since: str = ""
    task: str = ""
    task_since: str = ""
    problem: str = ""
    hint: str = ""
    process: int = 0
    tried: bool = False
    release: str = ""
    code_digest: str = ""

    @staticmethod
    def read(home: Path) -> SiteStatus:
        """What the daemon wrote last, as far as it still holds; the default where there never was one."""
        found = posted(home / STATUS_FILE)
        try:
            status = SiteStatus(**found.document)
        except TypeError:  # of another release
            return SiteStatus(running=found.alive)
        if status.running and not found.alive:
            return SiteStatus(since=status.since, problem="daemon-died", hint=_KILLED)
        return status

    @property
    def up(self) -> bool:
        """Whether the daemon does its work, be the coordinator there or not."""
        return self.running and self.tried

    @property
    def words(self) -> str:
        """The status in one line, for a service manager."""
        trouble = f" ({self.problem})" if self.problem else ""
        return f"{self.link}{trouble}; {f'at work: {self.task}' if self.task else 'no task'}"


class StatusBoard:
    """Writes the status whenever it changes; any thread may.

    Args:
        home: The site's home.
        process: The daemon's process id.
        now: The clock.
    """

    def __init__(self, home: Path, process: int, now: Clock = utc_now) -> None:
        self._board, self._now, self._lock = Board(home / STATUS_FILE), now, threading.Lock()
        self.status = SiteStatus(
            running=True, process=process, since=self._time(), release=__version__, code_digest=code_digest()
        )

    def link(self, state: str, error: ConsiliumError | None) -> None:
        """Take note of how the link stands."""
        problem, hint = (error.code, error.hint) if error is not None else ("", "")
        with self._lock:
            if state == "connecting" and self.status.problem:
                return  # what is in the way stays in sight while it is tried again
            since = self.status.since if state == self.status.link else self._time()
            tried = self.status.tried or state != "connecting"
            self._write(
                replace(self.status, link=state, since=since, problem=problem, hint=hint, tried=tried)
            )

    def task(self, task: str) -> None:
        """Take note of what is worked at; empty for nothing."""
        with self._lock:
            self._write(replace(self.status, task=task, task_since=self._time() if task else ""))

    def stopped(self) -> None:
        """Take note that the daemon ends."""
        with self._lock:
            self._write(SiteStatus(since=self._time()))
            self._board.close()

    def _write(self, status: SiteStatus) -> None:
        self.status = status
        self._board.write(asdict(status))

    def _time(self) -> str:
        return self._now().isoformat(timespec="seconds")
