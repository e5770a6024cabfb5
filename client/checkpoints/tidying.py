"""What is let go of in a site's state folder: what belongs to studies that are over, and what is old."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from client.checkpoints.folder import TRAINING

KEPT_S = 30 * 24 * 3600.0
"""No coordinator asks for a task again that is older."""


def tidy(state: Path, over: Collection[str], now_s: float) -> None:
    """Remove the folders of tasks that nobody will ask for again.

    Args:
        state: The site's state folder; it need not exist.
        over: Digests of studies that may not run any more.
        now_s: Seconds since 1970.
    """
    for study in _folders(state / TRAINING):
        for task in _folders(study):
            if study.name in over or _touched_s(task) < now_s - KEPT_S:
                shutil.rmtree(task, ignore_errors=True)
        if not any(study.iterdir()):
            study.rmdir()


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _touched_s(folder: Path) -> float:
    """When anything in the folder was last written."""
    return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
