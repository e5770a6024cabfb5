"""What a site's optimiser has learnt of the gradients, kept at the site from one round to the next.

    STATE/training/STUDY/optimizer-KEY/ROUND.moments

KEY is of the study's seed and the site; the folder lies among those of the study's tasks, and goes with them.
A site without a state folder keeps them in the memory of its process: the simulation in worker processes,
each of which answers for the same sites in all rounds.

Invariants:

- A round begins with what the last round before it ended with, never with its own. So a round that is done
  again, after a crash or on another base, begins as it did the first time.
- They never leave the site. In private training they are made of noised gradients alone.
- Files are whole or not there, and readable by their owner alone. What is lost is begun anew, and said.
"""

from __future__ import annotations

import copy
import hashlib
import io
import logging
import pickle
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

import torch

from client.checkpoints import study_folder
from client.checkpoints.folder import TRAINING
from client.checkpoints.sealed import read_sealed, write_sealed
from client.site import Site
from common.errors import DiskFull, OutputUnwritable
from common.tasks import TrainTask

log = logging.getLogger("consilium.client")

Kept = dict[int, dict[str, Any]]
"""By the number of a parameter, what torch's optimiser keeps of it: tensors and numbers."""

_SUFFIX = ".moments"
_memory: dict[str, dict[int, Kept]] = {}  # this process's, by study, seed and site; then by round


class Moments(Protocol):
    """What one round begins with, and where it puts what it ends with."""

    def read(self) -> Kept | None:
        """What the last round before this one ended with; None to begin anew."""
        ...

    def write(self, kept: Kept) -> None:
        """Keep what this round ended with; that it cannot be kept never stops training."""
        ...


def moments_of(site: Site, task: TrainTask) -> Moments:
    """The moments of a site in one round of a study."""
    key = hashlib.sha256(f"{task.study}\0{task.seed}\0{site.name}".encode()).hexdigest()[:32]
    if not site.state:
        return MomentsInMemory(_memory.setdefault(key, {}), task.round)
    study = study_folder(task.study)
    folder = Path(site.state) / TRAINING / study / f"optimizer-{key}"
    return MomentsOnDisk(folder, {"study": study, "seed": str(task.seed), "site": site.name}, task.round)


def go_on(optimizer: torch.optim.Optimizer, moments: Moments | None) -> None:
    """Have an optimiser go on where the round before ended; with None it begins anew."""
    if moments is not None:
        take_up(optimizer, moments.read())


def leave(optimizer: torch.optim.Optimizer, moments: Moments | None) -> None:
    """Keep what an optimiser has learnt for the next round; with None nothing is kept."""
    if moments is not None:
        moments.write(given_up(optimizer))


def take_up(optimizer: torch.optim.Optimizer, kept: Kept | None) -> None:
    """Have an optimiser go on with moments; with those that are not of its parameters it begins anew."""
    if kept is None:
        return
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if not _fit(kept, parameters):
        log.warning("the optimiser's state that was kept is of another model; it begins anew")
        return
    # A copy, for optimisers change theirs in place, and this round may have to begin once more.
    optimizer.load_state_dict({**optimizer.state_dict(), "state": copy.deepcopy(kept)})


def given_up(optimizer: torch.optim.Optimizer) -> Kept:
    """The moments of an optimiser, on the CPU."""
    state: Mapping[int, Mapping[str, Any]] = optimizer.state_dict()["state"]
    return {
        number: {
            name: value.cpu() if isinstance(value, torch.Tensor) else value for name, value in own.items()
        }
        for number, own in state.items()
    }


@dataclass(frozen=True, slots=True)
class MomentsInMemory:
    """Moments that end with the process.

    Attributes:
        rounds: Those of the site in this study, by round; of two rounds at most.
        round: The one that is trained.
    """

    rounds: dict[int, Kept]
    round: int

    def read(self) -> Kept | None:
        """See :class:`Moments`."""
        before = _last_before(self.rounds, self.round)
        return _said(None if before is None else self.rounds[before], self.round)

    def write(self, kept: Kept) -> None:
        """See :class:`Moments`."""
        before = _last_before(self.rounds, self.round)
        for number in self.rounds.keys() - {before}:
            del self.rounds[number]
        self.rounds[self.round] = kept


@dataclass(frozen=True, slots=True)
class MomentsOnDisk:
    """Moments in files.

    Attributes:
        folder: Where they are; it need not exist.
        about: Whose they are; files of anything else are not used.
        round: The one that is trained.
    """

    folder: Path
    about: Mapping[str, str]
    round: int

    def read(self) -> Kept | None:
        """See :class:`Moments`."""
        before = _last_before(self._rounds(), self.round)
        return _said(None if before is None else self._read(before), self.round)

    def write(self, kept: Kept) -> None:
        """See :class:`Moments`."""
        try:
            write_sealed(
                self._path(self.round),
                self._header(self.round),
                lambda writer: torch.save(kept, cast("IO[bytes]", writer)),
            )
        except (DiskFull, OutputUnwritable) as error:
            log.warning("the optimiser's state cannot be kept (%s); training goes on", error.code)
        before = _last_before(self._rounds(), self.round)
        for number in set(self._rounds()) - {before, self.round}:
            with suppress(OSError):  # what stays too long costs room, and no round
                self._path(number).unlink(missing_ok=True)

    def _read(self, number: int) -> Kept | None:
        sealed = read_sealed(self._path(number))
        if sealed is None:
            return None
        if sealed.header != self._header(number):
            log.warning("an optimiser's state that was kept is not of this site and study")
            return None
        try:
            kept: Kept = torch.load(io.BytesIO(sealed.body), map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError) as error:  # whole, and yet none of ours
            log.warning("an optimiser's state that was kept cannot be read (%s)", type(error).__name__)
            return None
        return kept

    def _header(self, number: int) -> dict[str, str]:
        return {**self.about, "round": str(number)}

    def _rounds(self) -> list[int]:
        """The rounds of which something is kept."""
        return [int(path.stem) for path in self.folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal()]

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06}{_SUFFIX}"


def _said(kept: Kept | None, number: int) -> Kept | None:
    """What was found, once it is said that nothing was."""
    if kept is None and number > 1:
        log.info("no optimiser's state of a round before round %d is here: it begins anew", number)
    return kept


def _last_before(rounds: Mapping[int, Kept] | list[int], number: int) -> int | None:
    return max((each for each in rounds if each < number), default=None)


def _fit(kept: Kept, parameters: list[torch.Tensor]) -> bool:
    """Whether each tensor has the shape of the parameter it is of; counts of steps have none."""
    return all(
        number < len(parameters)
        and all(
            v.shape in ((), parameters[number].shape) for v in own.values() if isinstance(v, torch.Tensor)
        )
        for number, own in kept.items()
    )
