"""Changes of ``site.db``'s tables from release to release (Alembic)."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Engine

from common.errors import HomeInvalid


def upgrade(engine: Engine) -> None:
    """Bring a database to this release's tables.

    Raises:
        HomeInvalid: It is of a later release.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError:
        raise HomeInvalid(f"{engine.url.database} was written by a later release of Consilium") from None
