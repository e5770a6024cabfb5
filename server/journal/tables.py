"""The journal's tables."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Integer, MetaData, String, Table

from server.journal.sealed import SealedJSON

metadata = MetaData()


def _round() -> list[Column[object]]:
    return [
        Column("run", ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
        Column("number", Integer, primary_key=True),
    ]


# One run of a study. ``owner`` counts the processes that have conducted it: only the last one may write.
run = Table(
    "run",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("study_digest", String, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("owner", Integer, nullable=False),
    Column("begun", String, nullable=False),
    Column("ended", String),  # once nothing more will be done
    Column("status", String, nullable=False),  # how it ended, as run.json has it
    Column("about", SealedJSON, nullable=False),
)

# One round. ``entry`` is what run.json says of it, once it is finished.
round_ = Table(
    "round",
    metadata,
    *_round(),
    Column("base_digest", String, nullable=False),
    Column("asked", SealedJSON, nullable=False),
    Column("deadline", Float, nullable=False),  # seconds since 1970
    Column("model_digest", String, nullable=False),
    Column("about", SealedJSON, nullable=False),
    Column("entry", SealedJSON),
)

# An update that was admitted. Its arrays lie in a file; ``places`` says where, unless the file does.
contribution = Table(
    "contribution",
    metadata,
    *_round(),
    Column("site", String, primary_key=True),
    Column("about", SealedJSON, nullable=False),
    Column("digest", String, nullable=False),
    Column("places", SealedJSON),
)

# Why a site gave nothing that counts.
refusal = Table(
    "refusal",
    metadata,
    *_round(),
    Column("stage", String, primary_key=True),
    Column("site", String, primary_key=True),
    Column("reason", String, nullable=False),
    Column("since", String, nullable=False),
)

# A person's decision to let a suspended site back in.
readmission = Table(
    "readmission",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("run", ForeignKey("run.id", ondelete="CASCADE"), nullable=False),
    Column("site", String, nullable=False),
    Column("by", String, nullable=False),
    Column("at", String, nullable=False),
)

# A site's counts for a round's model. Their arrays lie in a file.
evaluation = Table(
    "evaluation",
    metadata,
    *_round(),
    Column("site", String, primary_key=True),
    Column("base_digest", String, nullable=False),
    Column("loss", Float, nullable=False),
    Column("digest", String, nullable=False),
)
