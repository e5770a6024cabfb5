"""What one task trains: a model, the site's cases, and what is to be done."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

from client.checkpoints import TaskFolder
from client.checkpoints.checkpoint import Checkpoints
from client.moments import Moments
from client.site import Site
from client.trainer import LocalPlan
from common.models import SequenceModel, state_of
from common.sequences import Cases
from common.weights import Weights, subtract


@dataclass(frozen=True, slots=True, eq=False)
class Workbench:
    """A task laid out for training.

    Attributes:
        site: Whose cases they are.
        model: On the device of ``cases``; holds the base's weights before training.
        base: The base's weights.
        cases: The site's training cases.
        plan: The round's place in the study's schedule, and what the coordinator asks.
        moments: What the optimiser goes on with; None where each round begins anew.
        groups: (N,) int64, number of the patient of each case; None where nobody asks.
    """

    site: Site
    model: SequenceModel
    base: Weights
    cases: Cases
    plan: LocalPlan
    moments: Moments | None = None
    groups: torch.Tensor | None = None

    def checkpoints(self, folder: TaskFolder, name: str) -> Checkpoints | None:
        """Where checkpoints of this training go, under a name; None where nothing outlives a task."""
        path = folder.checkpoint(name)
        if path is None:
            return None
        cases = hashlib.sha256("\0".join(self.site.source.stamp()).encode()).hexdigest()
        return Checkpoints(path, {"cases": cases, "device": self.cases.device.type})

    def update(self) -> Weights:
        """What training has changed."""
        return subtract(state_of(self.model), self.base)
