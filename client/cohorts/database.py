"""The connection to ``site.db``: whole transactions, this release's tables, and errors that have a code."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DatabaseError

from common.errors import ConsiliumError, DiskFull, HomeBusy, HomeInvalid, OutputUnwritable
from common.files import unwritable

SCHEMA = "0001"
BUSY_MS = 10_000
"""How long a transaction waits for another process's."""

ERRORS: dict[int, type[ConsiliumError]] = {
    sqlite3.SQLITE_FULL: DiskFull,
    sqlite3.SQLITE_BUSY: HomeBusy,
    sqlite3.SQLITE_LOCKED: HomeBusy,
    sqlite3.SQLITE_READONLY: OutputUnwritable,
    sqlite3.SQLITE_CANTOPEN: OutputUnwritable,
    sqlite3.SQLITE_PERM: OutputUnwritable,
    sqlite3.SQLITE_IOERR: OutputUnwritable,
    sqlite3.SQLITE_CORRUPT: HomeInvalid,
    sqlite3.SQLITE_NOTADB: HomeInvalid,
}
"""What SQLite's primary result codes (https://sqlite.org/rescode.html) are to the person at the terminal."""


class Database:
    """One SQLite file.

    Args:
        path: The file; made if it is not there, for its owner only.

    Raises:
        HomeInvalid: It is not a database, or of another release.
        DiskFull, OutputUnwritable: It cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.touch(mode=0o600)
        except OSError as error:
            raise unwritable(path, error) from None
        self._engine = create_engine(URL.create("sqlite", database=str(path)))
        event.listen(self._engine, "connect", _prepare)
        event.listen(self._engine, "begin", _begin)
        self._writer = self._engine.execution_options(writing=True)
        try:
            self._migrate()
        except BaseException:  # Ctrl-C too must not leave the file open; it is raised again
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """The database as it is at the block's begin, whatever others write meanwhile."""
        with self._coded(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """All of the block's changes, or none.

        Raises:
            DiskFull, OutputUnwritable, HomeBusy, HomeInvalid: See ``ERRORS``.
        """
        with self._coded(), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    @contextmanager
    def _coded(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            kind = ERRORS.get(getattr(error.orig, "sqlite_errorcode", 0) & 0xFF)
            if kind is None:
                raise
            raise kind(f"{self._path}: {error.orig}") from None

    def _migrate(self) -> None:
        """Bring the file to this release's tables: all of them or none, whoever else tries the same."""
        try:
            with self.reading() as connection:
                if _schema(connection) == SCHEMA:
                    return
            from client.cohorts.migrations import upgrade  # Alembic is slow to import, and seldom needed

            with self.writing() as connection:
                upgrade(connection)
        except DatabaseError:  # its tables are none of ours
            raise HomeInvalid(f"{self._path} is not a database of Consilium") from None


def _schema(connection: Connection) -> str | None:
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    found: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return found


def _prepare(connection: Any, record: Any) -> None:
    # Else Python's module begins transactions by itself, and not before tables are made.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA secure_delete = ON")  # what is removed is gone
    cursor.close()


def _begin(connection: Connection) -> None:
    """A transaction that will write waits for its turn now: one that had read before could not wait later."""
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
