"""The models of a run: one file for each round, written piece by piece and read so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from common.errors import WeightsDamaged
from common.files import unwritable
from common.weights import StoredWeights, Weights, digest, save_weights

CHECKPOINTS = "checkpoints"


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
        (self._folder / self.name(number)).unlink(missing_ok=True)

    def open(self, number: int, known: str) -> Weights:
        """See :class:`Models`."""
        stored = StoredWeights(self._folder / self.name(number))
        if digest(stored) != known:
            raise WeightsDamaged(f"{stored.path} is not the model that round {number} made")
        return stored
