"""``[federation]``: who takes part in a round, for how long, how updates travel and become one."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from common.study.section import Section, with_default
from common.study.strategies import FedAvg, StrategyChoice

DEFAULT_FRACTION = 0.1
"""Of ``codec = "topk"``: what it costs in accuracy is measured in docs/wire.md."""

MEAN_STRATEGIES = ("fedavg", "fedavgm", "fedprox", "fedadagrad", "fedadam", "fedyogi")

Subgroup = Literal["sex", "age", "scanner"]
"""A kind of subgroups of test cases."""


class Federation(Section):
    """``[federation]``: who takes part in a round, for how long, how updates travel and become one.

    Attributes:
        patience: Tests in a row without a better figure of the sites' validation cases that end the study;
            0: it goes on to its last round, and its last model is kept.
        patience_by: The figure that speaks for the study's task, or the loss.
        patience_min_delta: By how much a figure must be better to count as better.
    """

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
    calibrate: Literal["auto", "on", "off"] = "auto"
    patience: int = Field(0, ge=0)
    patience_by: Literal["figure", "loss"] = "figure"
    patience_min_delta: float = Field(0.0, ge=0.0, allow_inf_nan=False)
    subgroups: tuple[Subgroup, ...] = ()
    min_cell: int = Field(10, ge=2, le=100_000)

    @field_validator("strategy", mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else with_default(value, "name", "fedavg")

    @field_validator("subgroups")
    @classmethod
    def _each_once(cls, value: tuple[Subgroup, ...]) -> tuple[Subgroup, ...]:
        if len({*value}) < len(value):
            raise ValueError("subgroups names a kind twice")
        return value

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
    def _of_patience(self) -> Federation:
        if not self.patience and (self.patience_by != "figure" or self.patience_min_delta):
            raise ValueError("patience_by and patience_min_delta are of patience; give patience = 5, say")
        return self

    @model_validator(mode="after")
    def _late_fits(self) -> Federation:
        if self.late_rounds and self.strategy.name not in MEAN_STRATEGIES:
            raise ValueError(
                f"late_rounds lets a late update count with less weight, and {self.strategy.name} does not "
                f"go by the weights of updates; take a strategy of a mean: {', '.join(MEAN_STRATEGIES)}"
            )
        return self
