"""How far one task's training is, on the disk every few minutes.

Invariants:

- Training that goes on from a checkpoint gives, on a CPU, bit for bit what it would have given undisturbed.
- A checkpoint of another task, release of the software, kind of device or state of the data is not used, nor
  is one that is not what was written: training then begins anew.
- That a checkpoint cannot be written never stops training.

Nothing in it is unpickled but tensors, numbers and texts.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import nn

from client.checkpoints.interruption import INTERRUPTION, Interrupted, Interruption
from client.checkpoints.progress import PROGRESS
from client.checkpoints.sealed import read_sealed, write_sealed
from common import __version__
from common.errors import DiskFull, OutputUnwritable

log = logging.getLogger("consilium.client")

INTERVAL_S = 300.0
INTERVAL_VARIABLE = "CONSILIUM_CHECKPOINT_S"
"""Seconds between two checkpoints, where the environment says so; 0 for one after every step."""

State = dict[str, Any]
"""Tensors, numbers and texts, in dictionaries, lists and tuples."""


class Checkpoints:
    """The checkpoints of one task, in one file.

    Args:
        path: The file.
        about: What the training depends on besides the task; texts.
        interval_s: Between two of them; None for what the environment says, or :data:`INTERVAL_S`.
        clock: Seconds that only grow.
        interruption: Whether training was asked to stop.
    """

    def __init__(
        self,
        path: Path,
        about: Mapping[str, str],
        *,
        interval_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        interruption: Interruption = INTERRUPTION,
    ) -> None:
        self._path, self._clock, self._interruption = path, clock, interruption
        self._about = {**about, "consilium": __version__, "torch": str(torch.__version__)}
        self._interval_s = _interval_s() if interval_s is None else interval_s
        self._last, self._failed = clock(), False

    def read(self) -> State | None:
        """How far training was; None to begin anew."""
        sealed = read_sealed(self._path)
        if sealed is None:
            return None
        if sealed.header != self._about:
            log.warning("a checkpoint is of other data or software; training begins anew")
            return None
        try:
            state: State = torch.load(io.BytesIO(sealed.body), map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError) as error:  # whole, and yet none of ours
            log.warning("a checkpoint holds what none does (%s); training begins anew", type(error).__name__)
            return None
        log.info("training goes on from a checkpoint")
        return state

    def offer(self, state: Callable[[], State], done: float) -> None:
        """Write down how far training is, if it is time to, and tell it; called after every step.

        Args:
            state: Gives it; what it gives is not changed before this returns.
            done: The share of the steps that were done.

        Raises:
            Interrupted: Training was asked to stop.
        """
        PROGRESS.tell(done)
        if self._interruption.asked:
            self._write(state())
            raise Interrupted
        if self._clock() - self._last >= self._interval_s:
            self._write(state())
            self._last = self._clock()

    def _write(self, state: State) -> None:
        try:
            write_sealed(self._path, self._about, lambda writer: torch.save(state, cast("IO[bytes]", writer)))
        except (DiskFull, OutputUnwritable) as error:
            if not self._failed:
                log.warning("a checkpoint cannot be written (%s); training goes on", error.code)
            self._failed = True


def training_state(model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> State:
    """Model, optimiser, and the generators that dropout on ``device`` draws from."""
    generators = {"cpu": torch.default_generator.get_state()}
    if device.type == "cuda":
        generators["cuda"] = torch.cuda.get_rng_state(device)
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "generators": generators}


def restore_training(
    state: State, model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> None:
    """Put back what :func:`training_state` gave."""
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.default_generator.set_state(state["generators"]["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["generators"]["cuda"], device)


def _interval_s() -> float:
    try:
        return float(os.environ[INTERVAL_VARIABLE])
    except (KeyError, ValueError):
        return INTERVAL_S
