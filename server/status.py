"""How the coordinator stands, in a file: whether its daemon runs, who is connected, which studies run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from common import __version__
from common.board import Board, posted
from common.chain import Clock, utc_now
from common.contract import code_digest

STATUS_FILE = "status.json"


@dataclass(frozen=True, slots=True)
class CoordinatorStatus:
    """How the coordinator stands.

    Attributes:
        running: Whether the daemon runs, and so listens.
        port: Where it listens.
        since: Since when, in UTC.
        sites: Names of the sites that are connected.
        studies: Names of the studies that run.
        process: The daemon's process id.
        died: Whether it ended without a word.
        release: Of the code that the daemon began with.
        code_digest: Of that code.
    """

    running: bool = False
    port: int = 0
    since: str = ""
    sites: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    process: int = 0
    died: bool = False
    release: str = ""
    code_digest: str = ""

    @staticmethod
    def read(home: Path) -> CoordinatorStatus:
        """What the daemon wrote last, as far as it still holds; the default where there never was one."""
        found = posted(home / STATUS_FILE)
        try:
            status = CoordinatorStatus(**found.document)
        except TypeError:  # of another release
            return CoordinatorStatus(running=found.alive)
        if status.running and not found.alive:
            return CoordinatorStatus(died=True, since=status.since)
        return replace(status, sites=tuple(status.sites), studies=tuple(status.studies))

    @property
    def up(self) -> bool:
        """Whether the daemon does its work."""
        return self.running

    @property
    def words(self) -> str:
        """The status in one line, for a service manager."""
        studies = f"running: {', '.join(self.studies)}" if self.studies else "no study runs"
        return f"port {self.port}; {len(self.sites)} sites connected; {studies}"


class StatusBoard:
    """Writes the coordinator's status whenever it changes.

    Args:
        home: The coordinator's home.
        process: The daemon's process id.
        now: The clock.
    """

    def __init__(self, home: Path, process: int, now: Clock = utc_now) -> None:
        self._board, self._process, self._now = Board(home / STATUS_FILE), process, now
        self._status = CoordinatorStatus()

    def listening(self, port: int) -> None:
        """Take note that sites can connect."""
        self._write(
            CoordinatorStatus(
                True, port, self._time(), (), (), self._process, False, __version__, code_digest()
            )
        )

    def look(self, sites: Sequence[str], studies: Sequence[str]) -> None:
        """Take note of who is connected and what runs."""
        now = replace(self._status, sites=tuple(sorted(sites)), studies=tuple(sorted(studies)))
        if now != self._status:
            self._write(now)

    def stopped(self) -> None:
        """Take note that the daemon ends."""
        self._write(CoordinatorStatus(since=self._time()))
        self._board.close()

    def _write(self, status: CoordinatorStatus) -> None:
        self._status = status
        self._board.write(asdict(status))

    def _time(self) -> str:
        return self._now().isoformat(timespec="seconds")
