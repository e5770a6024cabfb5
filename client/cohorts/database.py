"""``site.db``: the tables that this release's migrations make."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.exc import DatabaseError

import common.database
from client.cohorts.migrations import FOLDER as MIGRATIONS
from common.database import schema_of
from common.errors import HomeInvalid

SCHEMA = "0001"


class Database(common.database.Database):
    """One SQLite file.

    Args:
        path: The file; made if it is not there, for its owner only.

    Raises:
        HomeInvalid: It is not a database, or of another release.
        DiskFull, OutputUnwritable: It cannot be made.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, ("secure_delete = ON",))  # what is removed is gone

    def make_tables(self) -> None:
        """Bring the file to this release's tables: all of them or none, whoever else tries the same."""
        try:
            with self.reading() as connection:
                if schema_of(connection) == SCHEMA:
                    return
            from common.migrating import upgrade  # Alembic is slow to import, and seldom needed

            with self.writing() as connection:
                upgrade(connection, MIGRATIONS)
        except DatabaseError:  # its tables are none of ours
            raise HomeInvalid(f"{self.name} is not a database of Consilium") from None
