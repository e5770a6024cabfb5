"""What a codec left out of a site's updates, kept on its disk from one round to the next.

    STATE/residuals/KEY/ROUND.safetensors

KEY is of the study, its seed and the site. A round reads what the last round before it left, and writes its
own; these two are kept, all others removed. So a round that is done again, after a crash or on another base,
finds what it found the first time, and what it writes takes the place of what it wrote then. Other studies'
residuals are removed when they are 30 days old. Files are written whole or not at all, and only their owner
reads them: they are made of updates, and as confidential.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from client.site import Site
from common.errors import HomeInvalid
from common.files import unwritable, write_atomically
from common.weights import Weights, digest

FOLDER = "residuals"
LONGEST_S = 30 * 86_400.0
_SUFFIX = ".safetensors"
_DIGEST = "consilium"
_NO_STATE = (
    'Give the site state=FOLDER in its node config, or let the study name codec = "float32" or "bf16".'
)
_DAMAGED = "Remove the file named at the site: it then goes on without what its last update had left out."


def residuals_of(site: Site, study: str, seed: int) -> Residuals:
    """The residuals of a site in a study, by its canonical text, that is run with a seed.

    Raises:
        HomeInvalid: The site has no folder for them.
    """
    if not site.state:
        raise HomeInvalid(
            "the study's codec carries over what it leaves out, and this site has no folder to keep that in",
            hint=_NO_STATE,
        )
    key = hashlib.sha256(f"{study}\0{seed}\0{site.name}".encode()).hexdigest()[:32]
    return Residuals(Path(site.state) / FOLDER / key)


@dataclass(frozen=True, slots=True)
class Residuals:
    """The residuals of one site in one study.

    Attributes:
        folder: Where they are; it need not exist.
        now: Seconds since the epoch.
    """

    folder: Path
    now: Callable[[], float] = time.time

    def before(self, round_number: int) -> dict[str, NDArray[Any]]:
        """What the last round before this one left out; nothing before the first.

        Raises:
            HomeInvalid: It is not what was written.
        """
        earlier = [number for number in self._rounds() if number < round_number]
        return _read(self._path(max(earlier))) if earlier else {}

    def keep(self, round_number: int, left_out: Weights) -> None:
        """Keep what a round left out, and of the others only what doing it again would need.

        Raises:
            DiskFull, OutputUnwritable: It cannot be written.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error) from None
        write_atomically(self._path(round_number), save(dict(left_out), {_DIGEST: digest(left_out)}), 0o600)
        with suppress(OSError):  # what stays too long costs room, and no round
            self._remove_others(round_number)
            self._remove_old()

    def _remove_others(self, round_number: int) -> None:
        """Remove the files of rounds that nobody does again, and what a killed process was writing."""
        earlier = [number for number in self._rounds() if number < round_number]
        for number in set(self._rounds()) - {round_number, *earlier[-1:]}:
            self._path(number).unlink(missing_ok=True)
        for left in self.folder.glob(".*.partial"):
            left.unlink(missing_ok=True)

    def _rounds(self) -> list[int]:
        """The rounds of which something is kept, in order."""
        return sorted(int(path.stem) for path in self.folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal())

    def _path(self, round_number: int) -> Path:
        return self.folder / f"{round_number:06}{_SUFFIX}"

    def _remove_old(self) -> None:
        """Remove what no study has asked for in a long time; this one's stays, whatever the clock says."""
        for other in self.folder.parent.iterdir():
            with suppress(OSError):  # gone meanwhile, or not ours: no reason to lose a round
                if other != self.folder and self.now() - other.stat().st_mtime > LONGEST_S:
                    shutil.rmtree(other)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with safe_open(path, "numpy") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
            written = (file.metadata() or {}).get(_DIGEST)
    except (OSError, SafetensorError) as error:
        raise HomeInvalid(f"{path}: {error}", hint=_DAMAGED) from None
    if digest(found) != written:
        raise HomeInvalid(f"{path} is not what was written", hint=_DAMAGED)
    return found
