"""``link.db``: its tables, whole transactions, and errors that have a code.

SQLite in WAL mode by default; another database that SQLAlchemy knows, by URL.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    insert,
    make_url,
    select,
)
from sqlalchemy.exc import DatabaseError

from common.errors import ConsiliumError, DiskFull, HomeBusy, HomeInvalid, OutputUnwritable
from common.files import unwritable

SCHEMA = "0001"
BUSY_MS = 10_000
"""How long a transaction waits for another process's."""

_HINT = "Put the copy of link.db back that your backup holds, or ask for help before removing it."
_ERRORS: dict[int, type[ConsiliumError]] = {
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

metadata = MetaData()

# The name and form that Alembic gives it, so that a later release can migrate from here.
version = Table("alembic_version", metadata, Column("version_num", String(32), primary_key=True))

# One invitation, good for one enrolment. Times are ISO 8601 in UTC to the second, so that they sort.
invitation = Table(
    "invitation",
    metadata,
    Column("id", String, primary_key=True),
    Column("site", String, nullable=False),
    Column("fingerprint", String, nullable=False),  # of the bootstrap certificate
    Column("expires", String, nullable=False),
    Column("used_at", String),
    Column("void_at", String),  # its site was revoked since
)

# A site keeps its row, and with it its node id, whatever becomes of its certificates.
site = Table(
    "site",
    metadata,
    Column("node_id", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("enrolled", String, nullable=False),
    Column("revoked_at", String),
    sqlite_autoincrement=True,  # an id is never given to another
)

# Every certificate ever given to a site. One that is not in here admits nobody, whoever signed it.
certificate = Table(
    "certificate",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("fingerprint", String, nullable=False, unique=True),
    Column("node_id", ForeignKey("site.node_id"), nullable=False, index=True),
    Column("serial", String, nullable=False),
    Column("public", String, nullable=False),  # common.identity.keys.public_text
    Column("expires", String, nullable=False),
    Column("revoked_at", String),
)

# What a site is asked, and its answer. The bodies go once the answer was used, the digests stay.
task = Table(
    "task",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("node_id", ForeignKey("site.node_id"), nullable=False),
    Column("message_type", String, nullable=False),
    Column("group_id", String, nullable=False),
    Column("deadline_ms", BigInteger, nullable=False),
    Column("digest", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("state", String, nullable=False),  # server.link.store.State
    Column("reason", String, nullable=False, default=""),
    Column("reply_digest", String),
    Column("reply_body", LargeBinary),
    Column("reply_signature", LargeBinary),
    Column("collected", Boolean, nullable=False, default=False),
    Index("task_of_site", "node_id", "state"),
)


class Database:
    """One database, used by many threads.

    Args:
        place: A file, made if it is not there, for its owner only; or a URL of SQLAlchemy.

    Raises:
        HomeInvalid: It is not a database of Consilium, or of another release.
        DiskFull, OutputUnwritable: It cannot be made.
    """

    def __init__(self, place: Path | str) -> None:
        url = _url(place)
        self._name = url.render_as_string(hide_password=True)
        self._engine = create_engine(url)
        if url.get_backend_name() == "sqlite":
            event.listen(self._engine, "connect", _prepare)
            event.listen(self._engine, "begin", _begin)
        self._writer = self._engine.execution_options(writing=True)
        # Threads take turns here: SQLite's own way of waiting is to sleep, up to 0.1 s at a time.
        self._turn = threading.Lock()
        try:
            self._make_tables()
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
            DiskFull, OutputUnwritable, HomeBusy, HomeInvalid: As SQLite says.
        """
        with self._turn, self._coded(), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    @contextmanager
    def _coded(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            kind = _ERRORS.get(getattr(error.orig, "sqlite_errorcode", 0) & 0xFF)
            if kind is None:
                raise
            raise kind(f"{self._name}: {error.orig}", hint=_HINT if kind is HomeInvalid else "") from None

    def _make_tables(self) -> None:
        try:
            with self.writing() as connection:
                metadata.create_all(connection)
                found = connection.execute(select(version.c.version_num)).scalar()
                if found is None:
                    connection.execute(insert(version).values(version_num=SCHEMA))
        except DatabaseError:  # its tables are none of ours
            raise HomeInvalid(f"{self._name} is not a database of the link", hint=_HINT) from None
        if found not in (None, SCHEMA):
            raise HomeInvalid(f"{self._name} is of another release (tables {found})", hint=_HINT)


def _url(place: Path | str) -> URL:
    if isinstance(place, str) and "://" in place:
        return make_url(place)
    path = Path(place)
    try:
        path.touch(mode=0o600)
    except OSError as error:
        raise unwritable(path, error) from None
    return URL.create("sqlite", database=str(path))


def _prepare(connection: Any, record: Any) -> None:
    # Else Python's module begins transactions by itself, and not before tables are made.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # what was acknowledged outlives a power cut
    cursor.close()


def _begin(connection: Connection) -> None:
    """A transaction that will write waits for its turn now: one that had read before could not wait later."""
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
