"""A database of Consilium: whole transactions, this release's tables, and errors that have a code.

SQLite in WAL mode; another database that SQLAlchemy knows, by URL.
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event, make_url
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError

from common.errors import (
    ConsiliumError,
    DatabaseUnavailable,
    DiskFull,
    HomeBusy,
    HomeInvalid,
    OutputUnwritable,
)
from common.files import unwritable

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


class Database(ABC):
    """One database. What its tables are, a subclass says.

    Args:
        place: A file, made if it is not there, for its owner only; or a URL of SQLAlchemy.
        pragmas: SQLite's, set on each connection.
        hint: What to do where it is not what it should be; "" for the error's own.

    Raises:
        HomeInvalid: It is not a database of Consilium, or of another release.
        DiskFull, OutputUnwritable: It cannot be made.
    """

    def __init__(self, place: Path | str, pragmas: Sequence[str] = (), hint: str = "") -> None:
        url = _url(place)
        self.name = url.database if url.get_backend_name() == "sqlite" else url.render_as_string()
        self._hint = hint
        self._engine = create_engine(url)
        self._remote = url.get_backend_name() != "sqlite"
        if not self._remote:
            event.listen(self._engine, "connect", _preparing(pragmas))
            event.listen(self._engine, "begin", _begin)
        self._writer = self._engine.execution_options(writing=True)
        try:
            self.make_tables()
        except BaseException:  # Ctrl-C too must not leave the file open; it is raised again
            self.close()
            raise

    @abstractmethod
    def make_tables(self) -> None:
        """Have this release's tables: all of them or none, whoever else tries the same.

        Raises:
            HomeInvalid: Its tables are none of ours, or of another release.
        """

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
        except (DatabaseError, InterfaceError) as error:
            kind = _kind(error)
            if kind is None:
                if self._remote and isinstance(error, (OperationalError, InterfaceError)):
                    raise DatabaseUnavailable(f"{self.name}: {error.orig}") from None
                raise
            raise kind(f"{self.name}: {error.orig}", hint=self._hint if kind is HomeInvalid else "") from None


def _kind(error: DatabaseError | InterfaceError) -> type[ConsiliumError] | None:
    """The coded error for one of SQLite's; None for those of other databases, and for defects of ours."""
    number = getattr(error.orig, "sqlite_errorcode", None)
    if number is None and type(error.orig) is sqlite3.OperationalError:
        return HomeInvalid  # Python's own: a text in the file is none
    return ERRORS.get((number or 0) & 0xFF)


def schema_of(connection: Connection) -> str | None:
    """What Alembic says that the tables are, or None before there are any."""
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    found: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return found


def _url(place: Path | str) -> URL:
    if isinstance(place, str) and "://" in place:
        return make_url(place)
    path = Path(place)
    try:
        path.touch(mode=0o600)
    except OSError as error:
        raise unwritable(path, error) from None
    return URL.create("sqlite", database=str(path))


def _preparing(pragmas: Sequence[str]) -> Any:
    """What is done to each connection of SQLite's before it is used."""

    def prepare(connection: Any, record: Any) -> None:
        # Else Python's module begins transactions by itself, and not before tables are made.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (f"busy_timeout = {BUSY_MS}", "foreign_keys = ON", "journal_mode = WAL", *pragmas):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return prepare


def _begin(connection: Connection) -> None:
    """A transaction that will write waits for its turn now: one that had read before could not wait later."""
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
