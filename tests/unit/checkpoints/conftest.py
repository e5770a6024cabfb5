"""Cases to train on, and training that dies."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from client.checkpoints.checkpoint import Checkpoints, State
from common.models import SequenceClassifier, build_model, initial_weights, load_state
from common.sequences import SequenceBatch
from common.study import Study


class Killed(BaseException):
    """The process ends here."""


class Dying(Checkpoints):
    """Checkpoints at every ``every`` steps, in a process that dies after ``steps`` of them."""

    def __init__(self, path: Path, steps: int, every: int) -> None:
        super().__init__(path, {}, interval_s=every, clock=lambda: self.taken)
        self.taken, self._steps = 0, steps
        self.told: list[float] = []

    def offer(self, state: Callable[[], State], done: float) -> None:
        self.taken += 1
        super().offer(state, done)
        self.told.append(done)
        if self.taken == self._steps:
            raise Killed

    taken = 0


@pytest.fixture(scope="session")
def cases() -> SequenceBatch:
    """Sixteen cases of two classes; class 1 is bright in the first half of its steps."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(16) % 2
    steps = 0.3 * torch.randn(16, 8, 8, generator=generator)
    steps[labels == 1, :4] += 1.0
    return SequenceBatch(steps, torch.tensor([8, 5] * 8), labels)


@pytest.fixture(scope="session")
def model_of() -> Callable[[Study], SequenceClassifier]:
    """A study's model with its first weights."""

    def make(study: Study) -> SequenceClassifier:
        model = build_model(study)
        load_state(model, initial_weights(study, 0))
        return model

    return make


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has files of checkpoints fail from now on, in the middle of being written, with an error number."""

    class Full:
        def __init__(self, file: IO[bytes], number: int) -> None:
            self._file, self._number, self._taken = file, number, 0

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def write(self, data: memoryview) -> int:
            self._taken += len(data)
            if self._taken > 300:
                raise OSError(self._number, os.strerror(self._number))
            return self._file.write(data)

    def fill(number: int) -> None:
        def opened(*given: Any, **options: Any) -> Full:
            return Full(open(*given, **options), number)  # noqa: PTH123  what is in its place

        monkeypatch.setattr("client.checkpoints.sealed.open", opened, raising=False)

    return fill
