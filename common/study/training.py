"""``[training]``: what one site does in one round."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from common.study.section import Section


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
