"""Bringing a database's tables to this release's, with Alembic.

Of several processes that try at once, one does it: in SQLite a transaction that writes has the whole file, in
PostgreSQL it takes a lock that stands for the tables.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, text

from common.errors import HomeInvalid

LOCK = 0x436F6E73
"""PostgreSQL's advisory lock that is held while tables are made: the letters "Cons"."""


def upgrade(connection: Connection, migrations: Path) -> None:
    """Bring a database to this release's tables, within the connection's transaction.

    Args:
        connection: To the database.
        migrations: Folder of ``env.py`` and ``versions/``.

    Raises:
        HomeInvalid: It is of a later release.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    config = Config()
    # The folder's path may hold a percent sign, which Config would take for the begin of a variable.
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError:
        raise HomeInvalid(
            f"{connection.engine.url.database} was written by a later release of Consilium"
        ) from None
