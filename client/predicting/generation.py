"""What a generator says of a picture that is given: how many bits a pixel it costs, written as each class.

That is its negative log-likelihood. It is low for pictures like those of training, and just as low for plain
or smooth ones of anything else (Nalisnick et al. 2019, arXiv:1810.09136), so it is no test of either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from client.predicting.answer import About
from client.predicting.case import Given
from client.predicting.classification import batch_of
from client.predicting.model import TrainedModel
from common.errors import ModelDiverged
from common.learning import learning_of
from common.sequences import SequenceBatch


@dataclass(frozen=True, slots=True)
class GenerationAnswer:
    """What a model says of one picture.

    Attributes:
        about: The case.
        bits_per_dim: Of each class, bits a pixel; 8 is what a model that knows nothing needs.
    """

    about: About
    bits_per_dim: Mapping[str, float]

    @property
    def name(self) -> str:
        """Of the case, as the user named it."""
        return self.about.name

    @property
    def decision(self) -> str:
        """The class as which it costs the fewest bits."""
        return min(self.bits_per_dim, key=self.bits_per_dim.__getitem__)

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            **self.about.to_json(),
            "bits_per_dim": dict(self.bits_per_dim),
            "least_bits_per_dim": min(self.bits_per_dim.values()),
            "decision": self.decision,
        }

    def to_rows(self) -> list[dict[str, str]]:
        """As a line of a table."""
        bits = {f"bits({name})": f"{value:.4f}" for name, value in self.bits_per_dim.items()}
        remarks = " ".join(self.about.remarks)
        return [{"input": self.name, "decision": self.decision, **bits, "remarks": remarks}]


class GenerationAnswers:
    """Answers of one model; see :class:`client.predicting.predicting.Answers`."""

    AT_ONCE = 16

    def __init__(self, model: TrainedModel) -> None:
        self._model, self._learning = model, learning_of(model.study)

    @torch.no_grad()
    def of(self, cases: Sequence[Given]) -> list[GenerationAnswer]:
        """What the model says of each case, in their order.

        Raises:
            ModelDiverged: It gives something that is not finite.
        """
        batch, names = batch_of(cases).to(self._model.device), self._model.study.study.classes
        bits = torch.stack([self._bits(batch, number) for number in range(len(names))], dim=1)
        if not bits.isfinite().all():
            raise ModelDiverged("outputs that are not finite")
        return [
            GenerationAnswer(About.of(case), dict(zip(names, row.tolist(), strict=True)))
            for case, row in zip(cases, bits, strict=True)
        ]

    def _bits(self, batch: SequenceBatch, number: int) -> torch.Tensor:
        """(B,) bits a pixel of pictures as those of a class."""
        of_class = SequenceBatch(batch.steps, batch.lengths, torch.full_like(batch.targets, number))
        nats = self._learning.losses(self._model.network.on(of_class), of_class)
        pixels = batch.lengths.to(nats.device) * batch.steps.shape[2]
        return (nats.double() / pixels / math.log(2)).cpu()
