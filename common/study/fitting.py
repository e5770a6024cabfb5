"""Which encoder and which cell fit which sequence: the table of docs/models.md, as a function.

What is not built is refused by name when the study is read, before anything starts.
"""

from __future__ import annotations

from common.study.model import Model
from common.study.sequence import Patches, Rows, Sequence, Steps

MONAI_PIXELS = 32
"""Side of a picture of which MONAI's networks leave one pixel."""


def misfit(model: Model, sequence: Sequence) -> str:
    """Why the model cannot read the sequence; "" if it can."""
    return _encoder_misfit(model, sequence) or _cell_misfit(model, sequence) or _stack_misfit(model)


def _encoder_misfit(model: Model, sequence: Sequence) -> str:
    if model.encoder == "none":
        return ""
    if isinstance(sequence, Steps):
        return f"encoder {model.encoder} looks at pictures; a sequence of steps has none"
    if isinstance(sequence, Patches) and sequence.patch < 8:
        return f"encoder {model.encoder} needs patches of at least 8 pixels"
    if model.from_monai and isinstance(sequence, Rows):
        return f"encoder {model.encoder} looks at pictures, and a step of kind rows is a single line"
    if model.from_monai and min(sequence.frame) < MONAI_PIXELS:
        return f"encoder {model.encoder} needs pictures or patches of at least {MONAI_PIXELS} pixels"
    return ""


def _cell_misfit(model: Model, sequence: Sequence) -> str:
    if model.over_maps and isinstance(sequence, Steps):
        return f"cell {model.cell} looks at pictures; a sequence of steps has none"
    if model.cell != "gru_d":
        return ""
    if not isinstance(sequence, Steps):
        return "cell gru_d reads what was measured and when, which only a sequence of steps tells"
    if model.bidirectional:
        return "cell gru_d knows the time since a measurement, not the time to the next: not bidirectional"
    if model.layers > 1:
        return "cell gru_d is one layer; above it there are no measurements any more"
    if sequence.fill != "none":
        return f'cell gru_d lets old values fade; sequence.fill = "{sequence.fill}" keeps them as they were'
    return ""


def _stack_misfit(model: Model) -> str:
    if not (model.residual or model.layer_norm):
        return ""
    key = "residual" if model.residual else "layer_norm"
    if model.cell not in ("gru", "lstm", "rnn"):
        return f"{key} is built for the cells gru, lstm and rnn, not for {model.cell}"
    return "" if model.layers > 1 else f"{key} acts between layers, and layers is 1"
