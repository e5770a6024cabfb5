"""Changes of settings in the audit log: what a file of settings is, whenever it is another than before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from common.audit import AuditLog

CHANGED = "settings.changed"


class SettingsWitness:
    """Looks at files of settings and tells the log of those that were changed.

    Who changed them it cannot know; when, only between two looks.

    Args:
        log: The audit log.
        folder: Where the files lie.
        files: Their names.
    """

    def __init__(self, log: AuditLog, folder: Path, files: Sequence[str]) -> None:
        self._log, self._folder, self._files = log, folder, files
        told = (entry.facts for entry in log.entries() if entry.event == CHANGED)
        self._known = {str(facts["file"]): str(facts["sha256"]) for facts in told}
        self._stamps: dict[str, tuple[int, int]] = {}

    def look(self) -> None:
        """Tell the log of each file that is not what it was last told to be.

        Raises:
            AuditBroken, DiskFull, OutputUnwritable: The log cannot be told.
        """
        for name in self._files:
            try:
                about = (self._folder / name).stat()
                stamp = (about.st_mtime_ns, about.st_size)
                if self._stamps.get(name) == stamp:
                    continue
                digest = hashlib.sha256((self._folder / name).read_bytes()).hexdigest()
            except OSError:
                continue  # whoever needs the file says so
            self._stamps[name] = stamp
            if self._known.get(name) != digest:
                self._log.append(CHANGED, file=name, sha256=digest)
                self._known[name] = digest
