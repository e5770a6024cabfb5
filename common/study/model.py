"""``[model]``: what is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from common.study.section import Section


class Model(Section):
    """``[model]``: an optional encoder, a recurrent stack, pooling over time, a linear head."""

    encoder: Literal["none", "cnn", "hog"] = "none"
    cell: Literal["gru", "lstm", "rnn"] = "gru"
    hidden: int = Field(128, ge=1, le=4096)
    layers: int = Field(1, ge=1, le=8)
    bidirectional: bool = False
    pooling: Literal["last", "mean", "max", "attention"] = "mean"
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
