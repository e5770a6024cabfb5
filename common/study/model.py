"""``[model]``: what is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from common.study.section import Section

Cell = Literal["gru", "lstm", "rnn", "gru_d", "conv_gru", "conv_lstm"]
Encoder = Literal[
    "none", "cnn", "hog", "monai:resnet10", "monai:resnet18", "monai:resnet34", "monai:densenet121"
]


class Model(Section):
    """``[model]``: an optional encoder, a recurrent stack, pooling over time, a linear head.

    ``residual`` and ``layer_norm`` act between the layers of a stack: what a layer gives is added to what it
    was given, and what it is given is normalised first.
    """

    encoder: Encoder = "none"
    cell: Cell = "gru"
    hidden: int = Field(128, ge=1, le=4096)
    layers: int = Field(1, ge=1, le=8)
    bidirectional: bool = False
    residual: bool = False
    layer_norm: bool = False
    pooling: Literal["last", "mean", "max", "attention"] = "mean"
    dropout: float = Field(0.0, ge=0.0, lt=1.0)

    @property
    def over_maps(self) -> bool:
        """Whether states are maps, as those of convolutional cells are."""
        return self.cell in ("conv_gru", "conv_lstm")

    @property
    def from_monai(self) -> bool:
        """Whether the encoder is one of MONAI's networks, which the extra ``monai`` brings."""
        return self.encoder.startswith("monai:")
