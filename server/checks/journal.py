"""Whether the record of runs can be written where the settings say it is kept."""

from __future__ import annotations

from pathlib import Path

from common.checks import Finding
from server.coordinator import JOURNAL, journal_in
from server.journal import Journal
from server.link.settings import CoordinatorSettings


def journal(home: Path, settings: CoordinatorSettings) -> Finding:
    """Where the journal is, and how many studies it says are under way.

    Raises:
        HomeInvalid: It is not a journal, or of a later release; or its URL is none.
        ExtraMissing: What speaks to PostgreSQL is not installed.
        DiskFull, OutputUnwritable, HomeBusy, DatabaseUnavailable: It cannot be used.
    """
    if not settings.journal and not (home / JOURNAL).exists():
        return Finding("journal", f"{JOURNAL} is made at the first start")
    with journal_in(home, settings) as opened:
        return Finding(
            "journal", f"{_named(opened, settings)} opens; {len(opened.unended())} studies under way"
        )


def _named(opened: Journal, settings: CoordinatorSettings) -> str:
    return opened.name if settings.journal else JOURNAL
