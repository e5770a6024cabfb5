"""The study file's sections as frozen models; every default and every bound of a study stands here.

A key that is not named here is refused. Units are in the names. Adding a kind (of sequence, strategy,
later of task) is one class more in its union.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from common.study.strategies import FedAvg, StrategyChoice

Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Section(BaseModel):
    """A table of the study file: immutable, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Head(Section):
    """``[study]``: what is to be learnt."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    task: Literal["classification"] = "classification"
    labels: dict[str, Text]

    @field_validator("labels")
    @classmethod
    def _two_classes(cls, labels: dict[str, str]) -> dict[str, str]:
        if len(set(labels.values())) < 2:
            raise ValueError("a classification needs at least two different names")
        return labels

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of their first mention; in a binary study the second is "positive"."""
        return tuple(dict.fromkeys(self.labels.values()))

    def class_index(self, stored: str) -> int | None:
        """Index of the class that a stored label value means, or None if the study does not name it."""
        name = self.labels.get(stored.strip())
        return None if name is None else self.classes.index(name)


class Data(Section):
    """``[data]``: what a site's data must be to take part."""

    modality: tuple[str, ...] = ()
    min_cases: int = Field(1, ge=1)
    min_patients: int = Field(1, ge=1)
    min_test_cases: int = Field(1, ge=0)
    test_split: Literal["test", "val"] = "test"


class Rows(Section):
    """``[sequence] kind = "rows"``: an image is read line by line, top to bottom."""

    kind: Literal["rows"] = "rows"
    size: int = Field(128, ge=8, le=1024)

    @property
    def steps(self) -> int:
        """Time steps of one image."""
        return self.size

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width in pixels of what one time step shows."""
        return (1, self.size)


class Patches(Section):
    """``[sequence] kind = "patches"``: an image is read square by square, in raster order."""

    kind: Literal["patches"] = "patches"
    size: int = Field(128, ge=8, le=1024)
    patch: int = Field(16, ge=2, le=256)

    @model_validator(mode="after")
    def _fits(self) -> Patches:
        if self.size % self.patch:
            raise ValueError(f"size {self.size} must be a multiple of patch {self.patch}")
        return self

    @property
    def steps(self) -> int:
        """Time steps of one image."""
        return (self.size // self.patch) ** 2

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width in pixels of what one time step shows."""
        return (self.patch, self.patch)


Sequence = Annotated[Rows | Patches, Field(discriminator="kind")]


class Model(Section):
    """``[model]``: an optional encoder, a recurrent stack, pooling over time, a linear head."""

    encoder: Literal["none", "cnn"] = "none"
    cell: Literal["gru", "lstm", "rnn"] = "gru"
    hidden: int = Field(128, ge=1, le=4096)
    layers: int = Field(1, ge=1, le=8)
    bidirectional: bool = False
    pooling: Literal["last", "mean", "max", "attention"] = "mean"
    dropout: float = Field(0.0, ge=0.0, lt=1.0)


class Training(Section):
    """``[training]``: what one site does in one round."""

    local_epochs: int = Field(1, ge=1, le=1000)
    batch_size: int = Field(32, ge=1, le=65536)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(1e-3, gt=0.0, le=100.0)
    weight_decay: float = Field(0.0, ge=0.0)
    clip_grad_norm: float | None = Field(None, gt=0.0)
    schedule: Literal["constant", "cosine"] = "constant"
    class_weights: Literal["none", "balanced"] = "none"


class Federation(Section):
    """``[federation]``: who takes part in a round, for how long, and how updates become one."""

    rounds: int = Field(10, ge=1, le=100_000)
    strategy: StrategyChoice = FedAvg()
    fraction_sites: float = Field(1.0, gt=0.0, le=1.0)
    min_sites: int = Field(2, ge=1)
    deadline_s: float = Field(3600.0, gt=0.0)
    evaluate_every: int = Field(1, ge=1)

    @field_validator("strategy", mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else _with_default(value, "name", "fedavg")


class Study(Section):
    """A whole study, resolved: the same value at the coordinator and at every site."""

    study: Head
    data: Data = Data()
    sequence: Sequence = Rows()
    model: Model = Model()
    training: Training = Training()
    federation: Federation = Federation()

    @field_validator("sequence", mode="before")
    @classmethod
    def _rows_unless_said(cls, value: Any) -> Any:
        return _with_default(value, "kind", "rows")

    @model_validator(mode="after")
    def _encoder_fits(self) -> Study:
        smallest = min(self.sequence.frame) if self.sequence.kind == "patches" else self.sequence.size
        if self.model.encoder == "cnn" and smallest < 8:
            raise ValueError("encoder cnn halves its input twice and needs at least 8 pixels")
        return self


def _with_default(table: Any, key: str, value: str) -> Any:
    """A table whose member of a union is not named is the default one's."""
    return {key: value, **table} if isinstance(table, dict) else table
