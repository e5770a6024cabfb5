"""The study file's sections as frozen models; every default and every bound of a study stands here.

A key that is not named here is refused. Units are in the names. Adding a kind (of sequence, strategy,
later of task) is one class more in its union.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from common.study.privacy import Privacy
from common.study.strategies import FedAvg, StrategyChoice

Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
MaxSteps = Annotated[int | None, Field(ge=1, le=65_536)]


DEFAULT_FRACTION = 0.1
"""Of ``codec = "topk"``: what it costs in accuracy is measured in docs/wire.md."""


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


class Window(Section):
    """Modality values, as HU, that are shown between black and white (DICOM PS3.3 C.11.2.1.2 and .3)."""

    centre: float
    width: float = Field(gt=0.0)
    function: Literal["linear", "linear-exact", "sigmoid"] = "linear"

    @model_validator(mode="after")
    def _wide_enough(self) -> Window:
        if self.function == "linear" and self.width < 1:
            raise ValueError("a linear window is at least 1 wide; function linear-exact takes less")
        return self


class Data(Section):
    """``[data]``: what a site's data must be to take part, and what is shown of it."""

    modality: tuple[str, ...] = ()
    min_cases: int = Field(1, ge=1)
    min_patients: int = Field(1, ge=1)
    min_test_cases: int = Field(1, ge=0)
    test_split: Literal["test", "val"] = "test"
    window: Window | None = None


class PictureSequence(Section):
    """What the kinds of sequence made of pictures share: the square field that a picture is laid on."""

    kind: str
    size: int = Field(128, ge=8, le=1024)
    pixel_spacing_mm: float | None = Field(None, gt=0.0, le=1000.0)


class Rows(PictureSequence):
    """``[sequence] kind = "rows"``: an image is read line by line, top to bottom."""

    kind: Literal["rows"] = "rows"

    @property
    def steps(self) -> int:
        """Time steps of one image."""
        return self.size

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width in pixels of what one time step shows."""
        return (1, self.size)


class Patches(PictureSequence):
    """``[sequence] kind = "patches"``: an image is read square by square, in raster order."""

    kind: Literal["patches"] = "patches"
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


class Slices(PictureSequence):
    """``[sequence] kind = "slices"``: every slice of a stack is a step, in the order of the stack."""

    kind: Literal["slices"] = "slices"
    slice_spacing_mm: float | None = Field(None, gt=0.0, le=1000.0)
    max_steps: MaxSteps = None

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width in pixels of what one time step shows."""
        return (self.size, self.size)


class Frames(PictureSequence):
    """``[sequence] kind = "frames"``: every frame of a clip is a step, in the order of time."""

    kind: Literal["frames"] = "frames"
    max_steps: MaxSteps = None

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width in pixels of what one time step shows."""
        return (self.size, self.size)


class Variable(Section):
    """One entry of ``[sequence.variables]``: a value enters the model as ``(value - centre) / scale``.

    Both stand in the study, so no statistics of patients cross sites.
    """

    centre: float
    scale: float = Field(gt=0.0)


class Steps(Section):
    """``[sequence] kind = "steps"``: a record of measurements; every time at which one was made is a step.

    A gap of ``time_scale`` of the record's own units of time is 1.0.
    """

    kind: Literal["steps"] = "steps"
    variables: dict[Text, Variable] = Field(min_length=1, max_length=1000)
    time_scale: float = Field(1.0, gt=0.0)
    max_steps: MaxSteps = None

    @property
    def frame(self) -> tuple[int, int]:
        """One row: scaled values, then observed flags, then gaps, each in the variables' order."""
        return (1, 3 * len(self.variables))


Sequence = Annotated[Rows | Patches | Slices | Frames | Steps, Field(discriminator="kind")]


class Model(Section):
    """``[model]``: an optional encoder, a recurrent stack, pooling over time, a linear head."""

    encoder: Literal["none", "cnn", "hog"] = "none"
    cell: Literal["gru", "lstm", "rnn"] = "gru"
    hidden: int = Field(128, ge=1, le=4096)
    layers: int = Field(1, ge=1, le=8)
    bidirectional: bool = False
    pooling: Literal["last", "mean", "max", "attention"] = "mean"
    dropout: float = Field(0.0, ge=0.0, lt=1.0)


class Training(Section):
    """``[training]``: what one site does in one round: ``local_epochs``, or ``work_s`` seconds of work."""

    local_epochs: int | None = Field(1, ge=1, le=1000)
    batch_size: int = Field(32, ge=1, le=65536)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(1e-3, gt=0.0, le=100.0)
    weight_decay: float = Field(0.0, ge=0.0, le=10.0)
    clip_grad_norm: float | None = Field(None, gt=0.0)
    schedule: Literal["constant", "cosine"] = "constant"
    class_weights: Literal["none", "balanced"] = "none"
    precision: Literal["float32", "bfloat16"] = "float32"
    work_s: float | None = Field(None, gt=0.0)

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


MEAN_STRATEGIES = ("fedavg", "fedavgm", "fedprox", "fedadagrad", "fedadam", "fedyogi")


class Federation(Section):
    """``[federation]``: who takes part in a round, for how long, how updates travel and become one."""

    rounds: int = Field(10, ge=1, le=100_000)
    strategy: StrategyChoice = FedAvg()
    fraction_sites: float = Field(1.0, gt=0.0, le=1.0)
    min_sites: int = Field(2, ge=1)
    deadline_s: float = Field(3600.0, gt=0.0)
    evaluate_every: int = Field(1, ge=1)
    average_last: int = Field(1, ge=1)
    codec: Literal["float32", "bf16", "int8", "topk"] = "float32"
    codec_fraction: float | None = Field(None, ge=1e-6, le=1.0, validate_default=True)
    enough: float = Field(1.0, gt=0.0, le=1.0)
    late_rounds: int = Field(0, ge=0, le=100)

    @field_validator("strategy", mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else _with_default(value, "name", "fedavg")

    @field_validator("codec_fraction")
    @classmethod
    def _of_topk(cls, value: float | None, info: ValidationInfo) -> float | None:
        if info.data.get("codec") == "topk":
            return DEFAULT_FRACTION if value is None else value
        if value is not None:
            raise ValueError('only codec = "topk" sends a share of the entries')
        return None

    @model_validator(mode="after")
    def _codec_fits(self) -> Federation:
        if self.codec == "topk" and self.strategy.name not in MEAN_STRATEGIES:
            raise ValueError(
                f'codec = "topk" leaves most entries of an update at zero, and {self.strategy.name} looks at '
                f"whole updates; take another codec, or a strategy of a mean: {', '.join(MEAN_STRATEGIES)}"
            )
        return self

    @model_validator(mode="after")
    def _late_fits(self) -> Federation:
        if self.late_rounds and self.strategy.name not in MEAN_STRATEGIES:
            raise ValueError(
                f"late_rounds lets a late update count with less weight, and {self.strategy.name} does not "
                f"go by the weights of updates; take a strategy of a mean: {', '.join(MEAN_STRATEGIES)}"
            )
        return self


class Study(Section):
    """A whole study, resolved: the same value at the coordinator and at every site."""

    study: Head
    data: Data = Data()
    sequence: Sequence = Rows()
    model: Model = Model()
    training: Training = Training()
    federation: Federation = Federation()
    privacy: Privacy | None = None

    @field_validator("sequence", mode="before")
    @classmethod
    def _rows_unless_said(cls, value: Any) -> Any:
        return _with_default(value, "kind", "rows")

    @model_validator(mode="after")
    def _encoder_fits(self) -> Study:
        if self.model.encoder == "none":
            return self
        if isinstance(self.sequence, Steps):
            raise ValueError(f"encoder {self.model.encoder} looks at pictures; a sequence of steps has none")
        if isinstance(self.sequence, Patches) and self.sequence.patch < 8:
            raise ValueError(f"encoder {self.model.encoder} needs patches of at least 8 pixels")
        return self

    @model_validator(mode="after")
    def _work_fits(self) -> Study:
        work_s, deadline_s = self.training.work_s, self.federation.deadline_s
        if work_s is not None and work_s >= deadline_s:
            raise ValueError(
                f"training.work_s is {work_s:g}, and federation.deadline_s {deadline_s:g}: no site would "
                f"have answered by then"
            )
        return self

    @model_validator(mode="after")
    def _privacy_fits(self) -> Study:
        if self.privacy is None:
            return self
        if self.training.class_weights != "none":
            raise ValueError("class_weights are counted from patients' labels, which [privacy] protects")
        if self.privacy.at_sites:
            self._check_private_training()
        if self.privacy.sites is not None:
            self._check_private_sites()
        return self

    def _check_private_sites(self) -> None:
        if self.federation.strategy.name not in MEAN_STRATEGIES:
            raise ValueError(f"[privacy.sites] needs a strategy of a mean: {', '.join(MEAN_STRATEGIES)}")
        if self.federation.codec == "topk":
            raise ValueError(
                '[privacy.sites] puts the same noise on every entry, and with federation.codec = "topk" most '
                "have no update to hide; take another codec"
            )
        if self.federation.enough < 1.0 or self.federation.late_rounds:
            raise ValueError(
                "[privacy.sites] hides who took part, so neither how many have answered (federation.enough) "
                "nor who is late (federation.late_rounds) may decide anything"
            )

    def _check_private_training(self) -> None:
        """What would tell of patients outside the noise is refused, not left to a reader's care."""
        if self.training.clip_grad_norm is not None:
            raise ValueError("with [privacy] its own clip_norm takes the place of training.clip_grad_norm")
        if self.training.work_s is not None:
            raise ValueError(
                "with [privacy] the steps of a round are paid for before it begins; give "
                "training.local_epochs in place of work_s"
            )
        if self.federation.strategy.name == "qfedavg":
            raise ValueError("qfedavg asks sites for losses of patients, which [privacy] protects")


def _with_default(table: Any, key: str, value: str) -> Any:
    """A table whose member of a union is not named is the default one's."""
    return {key: value, **table} if isinstance(table, dict) else table
