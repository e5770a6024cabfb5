"""``link.db``: what the coordinator must not forget of the link."""

from __future__ import annotations

from pathlib import Path

from server.link.database import Database
from server.link.members import InvitationRow, Members, SiteRow
from server.link.tasks import OPEN, Reception, State, Task, Tasks

__all__ = ["OPEN", "InvitationRow", "LinkStore", "Members", "Reception", "SiteRow", "State", "Task", "Tasks"]


class LinkStore:
    """The database of one coordinator; threads may share it.

    Args:
        place: ``link.db``, made if it is not there; or a URL of SQLAlchemy.

    Attributes:
        members: Who was invited, who enrolled, which certificates are good.
        tasks: What sites were asked, and what they answered.

    Raises:
        HomeInvalid: It is not one, or of another release.
        DiskFull, OutputUnwritable: It cannot be made.
    """

    def __init__(self, place: Path | str) -> None:
        self._database = Database(place)
        self.members = Members(self._database)
        self.tasks = Tasks(self._database)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
