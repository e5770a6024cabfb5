"""The models of a run: one file for each round, written piece by piece and read so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from common.errors import WeightsDamaged
from common.files import unwritable
from common.weights import FileWeights, Place, StoredWeights, Weights, digest, save_weights

CHECKPOINTS = "checkpoints"

FROM_BACKUP = (
    "Put the file named above back from a backup, and start again: the study then goes on. There is no other "
    "copy; without one the study runs again under a new contract."
)


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A round's model, which may lie in a file, and the digest that it had when it was made."""

    weights: Weights
    digest: str

    def sound(self) -> Weights:
        """The weights.

        Raises:
            WeightsDamaged: They are others by now.
        """
        if digest(self.weights) != self.digest:
            raise WeightsDamaged("a model of the study has changed on the disk", hint=FROM_BACKUP)
        return self.weights


class Models(Protocol):
    """Where the engine puts the models that it makes."""

    def keep(self, number: int, weights: Weights) -> Weights:
        """The model of a round, from where it is kept."""
        ...

    def drop(self, number: int) -> None:
        """Let go of the model of a round, which is of no use."""
        ...

    def open(self, number: int, known: str) -> Weights:
        """The model of a round that was kept.

        Raises:
            WeightsDamaged: It is not the one of this digest.
        """
        ...


class ModelsInMemory:
    """Models that nothing is left of; only the last one is there."""

    def __init__(self) -> None:
        self._last: Weights = {}

    def keep(self, number: int, weights: Weights) -> Weights:
        """See :class:`Models`."""
        self._last = dict(weights)
        return self._last

    def drop(self, number: int) -> None:
        """See :class:`Models`."""
        self._last = {}

    def open(self, number: int, known: str) -> Weights:
        """See :class:`Models`."""
        if digest(self._last) != known:
            raise WeightsDamaged(f"the model of round {number} is not there")
        return self._last


class ModelFiles:
    """The models in a run's folder: ``checkpoints/round-0003.safetensors``; round 0 is the first model.

    Args:
        folder: The run's.
        about: What each file says of itself, for the number of a round.
    """

    def __init__(self, folder: Path, about: Callable[[int], dict[str, str]]) -> None:
        self._folder, self._about = folder, about
        try:
            (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from None

    @staticmethod
    def name(number: int) -> str:
        """The file of a round's model, relative to the run's folder."""
        return f"{CHECKPOINTS}/round-{number:04d}.safetensors"

    def keep(self, number: int, weights: Weights) -> Weights:
        """See :class:`Models`."""
        return save_weights(self._folder / self.name(number), weights, self._about(number))

    def drop(self, number: int) -> None:
        """See :class:`Models`."""
        with suppress(OSError):  # why it is of no use is what is to be told
            (self._folder / self.name(number)).unlink(missing_ok=True)

    def open(self, number: int, known: str) -> Weights:
        """See :class:`Models`."""
        return verified(self._folder / self.name(number), known, FROM_BACKUP)


def verified(path: Path, known: str, hint: str, places: Mapping[str, Place] | None = None) -> FileWeights:
    """The arrays in a file whose digest is known.

    Args:
        path: The file.
        known: The digest.
        hint: What to do where it is not what was written.
        places: Where they lie in it; None if it is a safetensors file, which says so itself.

    Raises:
        WeightsDamaged: It is not.
    """
    try:
        stored = StoredWeights(path) if places is None else FileWeights(path, places)
        if digest(stored) == known:
            return stored
    except WeightsDamaged as error:
        raise WeightsDamaged(error.private, hint=hint) from None
    raise WeightsDamaged(f"{path} is not what was written", hint=hint)
