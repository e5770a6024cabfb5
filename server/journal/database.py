"""The journal's database: SQLite in a file, or PostgreSQL by URL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, select
from sqlalchemy.exc import DatabaseError

import common.database
from common.database import is_url, schema_of
from common.errors import HomeInvalid
from server.journal.migrations import FOLDER as MIGRATIONS
from server.journal.postgresql import Postgresql
from server.journal.sealed import RESTORE, damaged
from server.journal.tables import metadata

SCHEMA = "0002"


class Database(common.database.Database):
    """One journal; threads may share it.

    Args:
        place: A file, made if it is not there, for its owner only; or the URL of a PostgreSQL database.

    Raises:
        HomeInvalid: It is not a journal, or of a later release; or the URL is none.
        ExtraMissing: What speaks to PostgreSQL is not installed.
        DiskFull, OutputUnwritable, HomeBusy, DatabaseUnavailable: It cannot be used.
    """

    def __init__(self, place: Path | str) -> None:
        self._turn = threading.Lock()
        if is_url(place) and not place.startswith("sqlite"):
            super().__init__(Postgresql(place))
        else:  # what a method returned from outlives a power cut
            super().__init__(place, ("synchronous = FULL",), RESTORE)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """All of the block's changes, or none; one thread at a time."""
        with self._turn, super().writing() as connection:
            yield connection

    def make_tables(self) -> None:
        """Bring the database to this release's tables: all of them or none, whoever else tries the same."""
        try:
            with self.reading() as connection:
                if schema_of(connection) == SCHEMA:
                    return self._check(connection)
            from common.migrating import upgrade  # Alembic is slow to import, and seldom needed

            with self.writing() as connection:
                upgrade(connection, MIGRATIONS)
        except DatabaseError:  # its tables are none of ours
            raise HomeInvalid(f"{self.name} is not a journal of Consilium", hint=RESTORE) from None

    def _check(self, connection: Connection) -> None:
        """See that tables are there, and that the pages of SQLite's file fit together, read or not.

        Raises:
            HomeInvalid: They do not.
            DatabaseError: A table, or a column, is not there.
        """
        if connection.dialect.name == "sqlite":
            found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
            if found != "ok":
                raise damaged(f"{self.name}: {found}")
        for table in metadata.sorted_tables:  # are its columns called what they were?
            connection.execute(select(table).limit(0))
