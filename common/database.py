"""A database of Consilium: whole transactions, this release's tables, and errors that have a code.

A file of SQLite in WAL mode, unless who opens it brings another kind of database.
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeGuard

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError

from common.errors import (
    ConsiliumError,
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


class Backend(Protocol):
    """A kind of database: how it is opened, and what its errors are to the person at the terminal.

    Invariant: what a transaction of ``writer`` reads stays true until that transaction has ended, as far as
    what it writes depends on it; so it never has to be done again.
    """

    @property
    def name(self) -> str:
        """What messages call it: nothing that opens it."""
        ...

    @property
    def reader(self) -> Engine:
        """Its transactions see the database as it is at their begin."""
        ...

    @property
    def writer(self) -> Engine:
        """Its transactions wait for their turn."""
        ...

    def coded(self, error: DBAPIError) -> ConsiliumError | None:
        """The error that a person can act on; None for one that says nothing about the machine."""
        ...


class SqliteFile:
    """A :class:`Backend` that is a file, made if it is not there, for its owner only.

    Args:
        place: The file, or its URL (``sqlite:///...``).
        pragmas: SQLite's, set on each connection.
        hint: What to do where it is not what it should be; "" for the error's own.

    Raises:
        DiskFull, OutputUnwritable: It cannot be made.
    """

    def __init__(self, place: Path | str, pragmas: Sequence[str] = (), hint: str = "") -> None:
        path = Path(make_url(place).database or "" if is_url(place) else place)
        try:
            path.touch(mode=0o600)
        except OSError as error:
            raise unwritable(path, error) from None
        self.name, self._hint = str(path), hint
        self.reader = create_engine(URL.create("sqlite", database=str(path)))
        event.listen(self.reader, "connect", _preparing(pragmas))
        event.listen(self.reader, "begin", _begin)
        self.writer = self.reader.execution_options(writing=True)

    def coded(self, error: DBAPIError) -> ConsiliumError | None:
        """See :class:`Backend`."""
        kind = _kind(error)
        if kind is None:
            return None
        return kind(f"{self.name}: {error.orig}", hint=self._hint if kind is HomeInvalid else "")


class Database(ABC):
    """One database. What its tables are, a subclass says.

    Args:
        place: A file of SQLite, or a database of another kind.
        pragmas: For SQLite: see :class:`SqliteFile`.
        hint: For SQLite, likewise.

    Raises:
        HomeInvalid: It is not a database of Consilium, or of another release.
        DiskFull, OutputUnwritable, DatabaseUnavailable: It cannot be made, or does not answer.
    """

    def __init__(self, place: Path | str | Backend, pragmas: Sequence[str] = (), hint: str = "") -> None:
        self._backend = SqliteFile(place, pragmas, hint) if isinstance(place, (Path, str)) else place
        self.name = self._backend.name
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
        with self._coded(), self._backend.reader.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """All of the block's changes, or none.

        Raises:
            DiskFull, OutputUnwritable, HomeBusy, HomeInvalid, DatabaseUnavailable: As the database says.
        """
        with self._coded(), self._backend.writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Let go of the database."""
        self._backend.reader.dispose()

    @contextmanager
    def _coded(self) -> Iterator[None]:
        try:
            yield
        except (DatabaseError, InterfaceError) as error:
            told = self._backend.coded(error)
            if told is None:
                raise
            raise told from None


def is_url(place: Path | str) -> TypeGuard[str]:
    """Whether a database is named by a URL rather than by its file."""
    return isinstance(place, str) and "://" in place


def _kind(error: DBAPIError) -> type[ConsiliumError] | None:
    """The coded error for one of SQLite's; None for defects of ours."""
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
