"""The journal: runs, rounds, updates, refusals, counts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _of_round() -> tuple[sa.Column[int], sa.Column[int]]:
    run = sa.Column("run", sa.Integer, sa.ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    return run, sa.Column("number", sa.Integer, primary_key=True)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "run",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("study_digest", sa.String, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Integer, nullable=False),
        sa.Column("begun", sa.String, nullable=False),
        sa.Column("ended", sa.String),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("about", sa.JSON, nullable=False),
    )
    op.create_table(
        "round",
        *_of_round(),
        sa.Column("base_digest", sa.String, nullable=False),
        sa.Column("asked", sa.JSON, nullable=False),
        sa.Column("deadline", sa.Float, nullable=False),
        sa.Column("model_digest", sa.String, nullable=False),
        sa.Column("about", sa.JSON, nullable=False),
        sa.Column("entry", sa.JSON),
    )
    op.create_table(
        "contribution",
        *_of_round(),
        sa.Column("site", sa.String, primary_key=True),
        sa.Column("about", sa.JSON, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
    )
    op.create_table(
        "refusal",
        *_of_round(),
        sa.Column("stage", sa.String, primary_key=True),
        sa.Column("site", sa.String, primary_key=True),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("since", sa.String, nullable=False),
    )
    op.create_table(
        "readmission",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("run", sa.Integer, sa.ForeignKey("run.id", ondelete="CASCADE"), nullable=False),
        sa.Column("site", sa.String, nullable=False),
        sa.Column("by", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
    op.create_table(
        "evaluation",
        *_of_round(),
        sa.Column("site", sa.String, primary_key=True),
        sa.Column("base_digest", sa.String, nullable=False),
        sa.Column("loss", sa.Float, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
    )
