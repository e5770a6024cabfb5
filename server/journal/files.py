"""The files beside the journal's database: arrays that a row names by their digest, in their run's folder."""

from __future__ import annotations

from pathlib import Path

from common.files import unwritable


def made(folder: Path) -> Path:
    """The folder, for its owner only; made if it is not there.

    Raises:
        DiskFull, OutputUnwritable: It cannot be.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None
    return folder
