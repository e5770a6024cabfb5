"""The tables of ``site.db``.

Nothing in them names a patient or a file: patients and UIDs are pseudonyms, files are marks (HMAC of their
place), and what was read from a header is what training needs. A change here needs a migration beside
``migrations/versions``.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

metadata = MetaData()


def _of_cohort() -> Column[int]:
    return Column("cohort", ForeignKey("cohort.id", ondelete="CASCADE"), nullable=False)


cohort = Table(
    "cohort",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("settings", JSON, nullable=False),  # client.cohorts.rules.Rules
    Column("created", String, nullable=False),
    Column("intakes", Integer, nullable=False, default=0),
    Column("ready", Boolean, nullable=False, default=False),  # the last intake came to its end
    Column("stored_bytes", Integer, nullable=False, default=0),  # of the pixel file; what follows is torn
    Column("fingerprint", String, nullable=False, default=""),
    Column("notes", JSON, nullable=False),  # counts of the last intake, for `cohort show`
)

# A file that was seen, wherever it lay. Its counts by outcome add up to the files seen.
file = Table(
    "file",
    metadata,
    Column("id", Integer, primary_key=True),
    _of_cohort(),
    Column("mark", String, nullable=False),  # Pseudonyms.mark of its place
    Column("stamp", String, nullable=False),  # size and time; another one means another content
    Column("intake", Integer, nullable=False),
    Column("outcome", String, nullable=False),  # client.dicom.outcomes.Outcome
    Column("why", String, nullable=False, default=""),  # Reason or Kind
    Column("decoded", Boolean),  # None where there are no pixels
    UniqueConstraint("cohort", "mark"),
)

# Stored arrays by content; an array is in the pixel file once, however many name it.
blob = Table(
    "blob",
    metadata,
    _of_cohort(),
    Column("digest", String, nullable=False),  # client.cohorts.store.digest_of
    Column("offset", Integer, nullable=False),
    Column("dtype", String, nullable=False),
    Column("shape", JSON, nullable=False),
    UniqueConstraint("cohort", "digest"),
)

# A DICOM object or NIfTI file whose pixels are stored.
image = Table(
    "image",
    metadata,
    Column("id", Integer, primary_key=True),
    _of_cohort(),
    Column("file", ForeignKey("file.id", ondelete="CASCADE"), nullable=False),
    Column("sop", String, nullable=False),
    Column("patient", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("facts", JSON, nullable=False),  # client.dicom.instance.Instance
    Column("display", JSON, nullable=False),  # client.dicom.pixels.Display
    Index("image_of_cohort", "cohort", "sop"),
)

# Labels, so that a later intake needs no table again.
label = Table(
    "label",
    metadata,
    _of_cohort(),
    Column("level", String, nullable=False),  # patient, study, series or sop
    Column("key", String, nullable=False),
    Column("value", String, nullable=False),
    Column("split", String),
    Column("line", Integer, nullable=False),
    UniqueConstraint("cohort", "level", "key"),
)

# What a study trains and tests on.
case = Table(
    "case",
    metadata,
    Column("id", Integer, primary_key=True),
    _of_cohort(),
    Column("name", String, nullable=False),
    Column("patient", String, nullable=False),
    Column("split", String, nullable=False),
    Column("label", String),
    Column("intake", Integer, nullable=False),  # in which it first stood as it is
    Column("digest", String, nullable=False),
    Column("content", JSON, nullable=False),  # client.cohorts.case.Content
    UniqueConstraint("cohort", "name"),
)

# What the quality report computed of a case's pixels, kept for the next one.
portrait = Table(
    "portrait",
    metadata,
    _of_cohort(),
    Column("digest", String, nullable=False),
    Column("content", JSON, nullable=False),
    UniqueConstraint("cohort", "digest"),
)
