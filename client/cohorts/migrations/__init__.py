"""Changes of ``site.db``'s tables from release to release (Alembic)."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from common.errors import HomeInvalid


def upgrade(connection: Connection) -> None:
    """Bring a database to this release's tables, within the connection's transaction.

    Raises:
        HomeInvalid: It is of a later release.
    """
    config = Config()
    # The file's place may hold a percent sign, which Config would take for the begin of a variable.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError:
        raise HomeInvalid(
            f"{connection.engine.url.database} was written by a later release of Consilium"
        ) from None
