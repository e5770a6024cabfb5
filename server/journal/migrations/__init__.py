"""Changes of the journal's tables from release to release (Alembic)."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
