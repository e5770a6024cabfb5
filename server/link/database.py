"""``link.db``: its tables."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import (
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
    insert,
    select,
)
from sqlalchemy.exc import DatabaseError

import common.database
from common.errors import HomeInvalid

SCHEMA = "0001"
_HINT = "Put the copy of link.db back that your backup holds, or ask for help before removing it."

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


class Database(common.database.Database):
    """One database, used by many threads.

    Args:
        place: A file, made if it is not there, for its owner only; or a URL of SQLAlchemy.

    Raises:
        HomeInvalid: It is not a database of Consilium, or of another release.
        DiskFull, OutputUnwritable: It cannot be made.
    """

    def __init__(self, place: Path | str) -> None:
        # Threads take turns here: SQLite's own way of waiting is to sleep, up to 0.1 s at a time.
        self._turn = threading.Lock()
        super().__init__(place, ("synchronous = FULL",), _HINT)  # what was acknowledged outlives a power cut

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """All of the block's changes, or none; one thread at a time.

        Raises:
            DiskFull, OutputUnwritable, HomeBusy, HomeInvalid: As SQLite says.
        """
        with self._turn, super().writing() as connection:
            yield connection

    def make_tables(self) -> None:
        """Have this release's tables.

        Raises:
            HomeInvalid: Its tables are none of ours, or of another release.
        """
        try:
            with self.writing() as connection:
                metadata.create_all(connection)
                found = connection.execute(select(version.c.version_num)).scalar()
                if found is None:
                    connection.execute(insert(version).values(version_num=SCHEMA))
        except DatabaseError:  # its tables are none of ours
            raise HomeInvalid(f"{self.name} is not a database of the link", hint=_HINT) from None
        if found not in (None, SCHEMA):
            raise HomeInvalid(f"{self.name} is of another release (tables {found})", hint=_HINT)
