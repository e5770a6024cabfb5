"""The journal of a coordinator: the runs in a database, of which each process may take one over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from common.chain import Clock, utc_now
from common.errors import JournalTaken, StudyUnknown
from common.study import Study
from common.study import digest as study_digest
from server.journal.database import Database
from server.journal.durable import DurableJournal
from server.journal.state import RunState, state_of
from server.journal.tables import readmission as readmissions
from server.journal.tables import run as runs


class Journal:
    """All runs in one database.

    Args:
        place: A file, or the URL of a PostgreSQL database.
        now: The clock.

    Raises:
        HomeInvalid: It is not a journal, or of a later release; or the URL is none.
        ExtraMissing: What speaks to PostgreSQL is not installed.
        DiskFull, OutputUnwritable, HomeBusy, DatabaseUnavailable: It cannot be used.
    """

    def __init__(self, place: Path | str, now: Clock = utc_now) -> None:
        self._database = Database(place)
        self._now = now

    @property
    def name(self) -> str:
        """What messages call it: nothing that opens it."""
        return self._database.name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def run(
        self, name: str, study: Study, seed: int, folder: Path, about: Mapping[str, Any] | None = None
    ) -> DurableJournal:
        """A run's journal, to be written by this process alone from now on.

        Args:
            name: Of the run, unique in this database; one that is there goes on.
            study: What is run.
            seed: With what.
            folder: Where updates are kept: the run's.
            about: What whoever begins the run again must know, as JSON holds it.

        Raises:
            JournalTaken: There is a run of that name of another study or seed.
        """
        known = study_digest(study)
        with self._database.writing() as connection:
            self._enter(connection, name, known, seed, about or {})
            # Whoever waited here goes on from what the one before has made of the run.
            row = connection.execute(select(runs).where(runs.c.name == name).with_for_update()).one()
            if (row.study_digest, row.seed) != (known, seed):
                raise JournalTaken(f"run {name!r} is of another study or seed")
            connection.execute(update(runs).where(runs.c.id == row.id).values(owner=row.owner + 1))
        journal = DurableJournal(self._database, row.id, row.owner + 1, folder, self._now)
        journal.mend(study)
        return journal

    def _enter(
        self, connection: Connection, name: str, known: str, seed: int, about: Mapping[str, Any]
    ) -> None:
        """Have a run of that name, of nobody yet, unless there is one."""
        if connection.scalar(select(runs.c.id).where(runs.c.name == name)) is not None:
            return
        values = {"name": name, "study_digest": known, "seed": seed, "owner": 0, "status": "running"}
        try:
            with connection.begin_nested():
                connection.execute(insert(runs).values(**values, begun=self._time(), about=dict(about)))
        except IntegrityError:
            return  # another coordinator has just entered it

    def unended(self) -> dict[str, dict[str, Any]]:
        """The runs that have not ended, with what is to be known to begin them again."""
        query = select(runs.c.name, runs.c.about).where(runs.c.ended.is_(None)).order_by(runs.c.id)
        with self._database.reading() as connection:
            return {row.name: dict(row.about) for row in connection.execute(query)}

    def readmit(self, name: str, site: str, by: str) -> None:
        """Let a suspended site back into a run, from its next round on; any process may.

        Raises:
            StudyUnknown: There is no such run.
        """
        with self._database.writing() as connection:
            going_on = select(runs.c.id).where(runs.c.name == name, runs.c.ended.is_(None))
            run = connection.scalar(going_on.with_for_update())
            if run is None:
                raise StudyUnknown(
                    f"{name[:12]} does not run", hint="`consilium study status` lists what does."
                )
            values = {"run": run, "site": site, "by": by, "at": self._time()}
            connection.execute(insert(readmissions).values(**values))

    def state(self, name: str) -> RunState | None:
        """How a run stands; None if there is none of that name."""
        with self._database.reading() as connection:
            return state_of(connection, name)

    def _time(self) -> str:
        return self._now().isoformat(timespec="seconds")
