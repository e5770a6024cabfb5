"""Where an update's arrays lie in its file, if that is the one in which they arrived."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column."""
    op.add_column("contribution", sa.Column("places", sa.JSON))
