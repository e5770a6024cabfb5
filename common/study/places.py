"""Which sequences, cells and encoders go together in tasks that say where something is."""

from __future__ import annotations

from common.study.model import Model
from common.study.sequence import Frames, Patches, Rows, Sequence, Slices

CONVOLUTIONAL = ("conv_gru", "conv_lstm")


def places_misfit(task: str, sequence: Sequence, model: Model) -> str:
    """Why the model does not keep the places that the task is about; "" if it does."""
    if task == "detection" and not isinstance(sequence, Frames | Slices | Patches):
        return (
            f"a box stands at a frame, a slice or a patch: detection takes a sequence of kind frames, slices "
            f"or patches, not {sequence.kind}"
        )
    if isinstance(sequence, Rows | Patches):
        return _strips_misfit(task, sequence, model)
    return _pictures_misfit(task, sequence, model)


def _strips_misfit(task: str, sequence: Rows | Patches, model: Model) -> str:
    if model.cell in CONVOLUTIONAL:
        return (
            f"cell {model.cell} carries what is at a place on to the same place of the next step, and "
            f'{sequence.kind} of one picture lie in different places: take "gru", "lstm" or "rnn"'
        )
    if task == "segmentation" and model.encoder not in ("none", "cnn"):
        return f"encoder {model.encoder} gives no pixels: segmentation takes encoder none or cnn"
    return ""


def _pictures_misfit(task: str, sequence: Sequence, model: Model) -> str:
    if model.cell not in CONVOLUTIONAL:
        return (
            f"cell {model.cell} makes a whole picture one vector and loses its places: {task} of "
            f"{sequence.kind} takes {' or '.join(CONVOLUTIONAL)}"
        )
    if model.encoder not in ("none", "cnn"):
        return f"encoder {model.encoder} gives no pixels: {task} of {sequence.kind} takes encoder cnn"
    if task == "detection" and model.encoder != "cnn":
        return f'detection of {sequence.kind} takes encoder "cnn": without one each pixel were a cell'
    return ""
