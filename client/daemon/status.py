"""How the site stands, in a file that anybody at the hospital's machine may be shown.

It tells apart what is often taken for one: a process that runs, a link that stands, a study that is approved,
data that is there, and training that goes on.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from common.chain import Clock, utc_now
from common.errors import ConsiliumError
from common.files import write_atomically

STATUS_FILE = "link/status.json"


@dataclass(frozen=True, slots=True)
class SiteStatus:
    """How the site stands.

    Attributes:
        running: Whether the daemon runs.
        link: ``disconnected``, ``connecting``, ``connected`` or ``refused``.
        since: Since when, in UTC.
        task: What it is at: kind and study; empty for nothing.
        problem: Code of what is in the link's way; empty for nothing.
        hint: What to do about it.
        process: The daemon's process id.
    """

    running: bool = False
    link: str = "disconnected"
    since: str = ""
    task: str = ""
    problem: str = ""
    hint: str = ""
    process: int = 0

    @staticmethod
    def read(home: Path) -> SiteStatus:
        """What the daemon wrote last; the default where there never was one."""
        try:
            document: dict[str, Any] = json.loads((home / STATUS_FILE).read_bytes())
            return SiteStatus(**document)
        except (OSError, ValueError, TypeError):
            return SiteStatus()


class StatusBoard:
    """Writes the status whenever it changes; any thread may.

    Args:
        home: The site's home.
        process: The daemon's process id.
        now: The clock.
    """

    def __init__(self, home: Path, process: int, now: Clock = utc_now) -> None:
        self._path, self._now, self._lock = home / STATUS_FILE, now, threading.Lock()
        self.status = SiteStatus(running=True, process=process, since=self._time())

    def link(self, state: str, error: ConsiliumError | None) -> None:
        """Take note of how the link stands."""
        problem, hint = (error.code, error.hint) if error is not None else ("", "")
        with self._lock:
            if state == "connecting" and self.status.problem:
                return  # what is in the way stays in sight while it is tried again
            since = self.status.since if state == self.status.link else self._time()
            self._write(replace(self.status, link=state, since=since, problem=problem, hint=hint))

    def task(self, task: str) -> None:
        """Take note of what is worked at; empty for nothing."""
        with self._lock:
            self._write(replace(self.status, task=task))

    def stopped(self) -> None:
        """Take note that the daemon ends."""
        with self._lock:
            self._write(SiteStatus(since=self._time()))

    def _write(self, status: SiteStatus) -> None:
        self.status = status
        write_atomically(self._path, json.dumps(asdict(status), indent=1) + "\n", 0o600)

    def _time(self) -> str:
        return self._now().isoformat(timespec="seconds")
