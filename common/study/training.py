"""``[training]``: what one site does in one round."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainSerializer, ValidationInfo, field_validator, model_validator

from common.study.section import Section

DEFAULT_GAMMA = 2.0
"""Of ``loss = "focal"``: what Lin et al. 2017 found best."""

OF_CLASSES = ("classification", "generation")
"""Tasks whose cases have a class, by which they can be drawn."""


def _whole(value: float | None) -> float | None:
    """A whole number as ``int``: 1.0 and 1 are one study, with one digest."""
    return int(value) if value is not None and value == int(value) else value


def _as_it_is(value: Any) -> Any:
    return value


Epochs = Annotated[float | None, AfterValidator(_whole), PlainSerializer(_as_it_is)]


class Training(Section):
    """``[training]``: what one site does in one round: ``local_epochs``, or ``work_s`` seconds of work.

    Attributes:
        local_epochs: Passes over the site's cases; of a part of one, the next round goes on where this one
            stopped.
        optimizer_state: Whether a round begins with the moments that the site's last one ended with.
        schedule: How the learning rate goes over the whole study, step by step.
        warmup_rounds: In so many first rounds it rises from a hundredth.
        loss: Of a classification; focal: Lin et al. 2017.
        label_smoothing: Share of a label's weight that goes to all classes alike (Szegedy et al. 2016).
        sampling: balanced: each class as often, then each of its patients, then each of the patient's cases.
    """

    local_epochs: Epochs = Field(1, gt=0, le=1000)
    batch_size: int = Field(32, ge=1, le=65536)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(1e-3, gt=0.0, le=100.0)
    weight_decay: float = Field(0.0, ge=0.0, le=10.0)
    clip_grad_norm: float | None = Field(None, gt=0.0)
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    class_weights: Literal["none", "balanced"] = "none"
    precision: Literal["float32", "bfloat16"] = "float32"
    work_s: float | None = Field(None, gt=0.0)
    optimizer_state: Literal["fresh", "kept"] = "fresh"
    warmup_rounds: float = Field(0.0, ge=0.0)
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: float | None = Field(None, ge=0.0, le=10.0, validate_default=True)
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0)
    sampling: Literal["natural", "balanced"] = "natural"

    @property
    def in_parts(self) -> bool:
        """Whether a round ends in the middle of a pass over the cases."""
        return self.local_epochs is not None and not isinstance(self.local_epochs, int)

    def steps(self, cases: int) -> int | None:
        """Steps of one round over so many cases; None where the study says for how long to train.

        A part of a pass is rounded up to whole batches; what floating point makes too much is no batch.
        """
        if self.local_epochs is None:
            return None
        return math.ceil(self.local_epochs * math.ceil(cases / self.batch_size) - 1e-9)

    @field_validator("focal_gamma")
    @classmethod
    def _of_focal(cls, value: float | None, info: ValidationInfo) -> float | None:
        if info.data.get("loss") == "focal":
            return DEFAULT_GAMMA if value is None else value
        if value is not None:
            raise ValueError('only loss = "focal" has a focal_gamma')
        return None

    @model_validator(mode="before")
    @classmethod
    def _by_epochs_or_by_time(cls, table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        if table.get("work_s") is None:
            if table.get("local_epochs", 1) is None:
                raise ValueError("give local_epochs, or work_s")
            return table
        if table.get("local_epochs") is not None:
            raise ValueError("give either local_epochs or work_s")
        return {**table, "local_epochs": None}

    @model_validator(mode="after")
    def _something_to_keep(self) -> Training:
        if self.optimizer_state == "kept" and self.optimizer == "sgd":
            raise ValueError('optimizer sgd has no state that could be kept; take "adam" or "adamw"')
        return self

    def require_fit(self, task: str, rounds: int) -> None:
        """Let a study pass whose task and number of rounds this fits.

        Raises:
            ValueError: It does not; the message says where.
        """
        if self.warmup_rounds >= rounds:
            raise ValueError(f"training.warmup_rounds is {self.warmup_rounds:g}, of {rounds} rounds in all")
        if task != "classification" and (self.loss != "cross_entropy" or self.label_smoothing):
            raise ValueError(
                f"training.loss and label_smoothing are a classification's; {task} has its own loss"
            )
        if task not in OF_CLASSES and self.sampling != "natural":
            raise ValueError(
                f'training.sampling = "balanced" goes by the cases\' classes; in {task} they have none'
            )

    def require_private_fit(self, steps_per_epoch: int) -> None:
        """Let a study pass whose sites can train so with ``[privacy]``.

        Args:
            steps_per_epoch: Of private training.

        Raises:
            ValueError: They cannot; the message says why.
        """
        steps = (self.local_epochs or 1) * steps_per_epoch
        if abs(steps - round(steps)) > 1e-9 or steps < 1:
            raise ValueError(
                f"training.local_epochs is {self.local_epochs:g}, which is {steps:g} private steps; an epoch "
                f"is {steps_per_epoch} of them (1 / privacy.sample_rate), and a round a whole number"
            )
