"""Cohorts: files, arrays, objects, labels, cases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _of_cohort() -> sa.Column[int]:
    return sa.Column("cohort", sa.Integer, sa.ForeignKey("cohort.id", ondelete="CASCADE"), nullable=False)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "cohort",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("created", sa.String, nullable=False),
        sa.Column("intakes", sa.Integer, nullable=False),
        sa.Column("ready", sa.Boolean, nullable=False),
        sa.Column("stored_bytes", sa.Integer, nullable=False),
        sa.Column("fingerprint", sa.String, nullable=False),
        sa.Column("notes", sa.JSON, nullable=False),
    )
    op.create_table(
        "file",
        sa.Column("id", sa.Integer, primary_key=True),
        _of_cohort(),
        sa.Column("mark", sa.String, nullable=False),
        sa.Column("stamp", sa.String, nullable=False),
        sa.Column("intake", sa.Integer, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("why", sa.String, nullable=False),
        sa.Column("decoded", sa.Boolean),
        sa.UniqueConstraint("cohort", "mark"),
    )
    op.create_table(
        "blob",
        _of_cohort(),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("offset", sa.Integer, nullable=False),
        sa.Column("dtype", sa.String, nullable=False),
        sa.Column("shape", sa.JSON, nullable=False),
        sa.UniqueConstraint("cohort", "digest"),
    )
    op.create_table(
        "image",
        sa.Column("id", sa.Integer, primary_key=True),
        _of_cohort(),
        sa.Column("file", sa.Integer, sa.ForeignKey("file.id", ondelete="CASCADE"), nullable=False),
        sa.Column("sop", sa.String, nullable=False),
        sa.Column("patient", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("display", sa.JSON, nullable=False),
    )
    op.create_index("image_of_cohort", "image", ["cohort", "sop"])
    op.create_table(
        "label",
        _of_cohort(),
        sa.Column("level", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("value", sa.String, nullable=False),
        sa.Column("split", sa.String),
        sa.Column("line", sa.Integer, nullable=False),
        sa.UniqueConstraint("cohort", "level", "key"),
    )
    op.create_table(
        "case",
        sa.Column("id", sa.Integer, primary_key=True),
        _of_cohort(),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("patient", sa.String, nullable=False),
        sa.Column("split", sa.String, nullable=False),
        sa.Column("label", sa.String),
        sa.Column("intake", sa.Integer, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
        sa.UniqueConstraint("cohort", "name"),
    )
    op.create_table(
        "portrait",
        _of_cohort(),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
        sa.UniqueConstraint("cohort", "digest"),
    )
