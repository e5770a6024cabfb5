"""Which task is built for which sequence and model, and in which words another one is refused."""

from __future__ import annotations

from common.study.model import Model
from common.study.places import places_misfit
from common.study.sequence import Frames, Rows, Sequence, Slices, Steps


def task_misfit(learns: str, sequence: Sequence, model: Model) -> str:
    """Why the task is not built for this sequence and model; "" if it is.

    Args:
        learns: The study's task, or "several labels".
        sequence: Its ``[sequence]``.
        model: Its ``[model]``.
    """
    if learns in ("segmentation", "generation") and isinstance(sequence, Steps):
        return f"{learns} is of pictures; a sequence of steps has none"
    match learns:
        case "segmentation" | "detection":
            return places_misfit(learns, sequence, model)
        case "generation":
            return _generation_misfit(sequence, model)
        case "risk":
            return _risk_misfit(sequence, model)
        case _:
            return ""


def _generation_misfit(sequence: Sequence, model: Model) -> str:
    if not isinstance(sequence, Rows):
        return f"a generation writes a picture row by row, and is not built for a sequence of {sequence.kind}"
    if model.encoder != "none":
        return f"a generation reads pixels as they are; encoder {model.encoder} mixes rows"
    if model.cell not in ("gru", "lstm", "rnn"):
        return f"a generation reads rows of pixels, and is not built for cell {model.cell}"
    if model.bidirectional:
        return "a generation cannot be bidirectional: a row would be written by what lies below it"
    return ""


def _risk_misfit(sequence: Sequence, model: Model) -> str:
    if not isinstance(sequence, Steps | Frames | Slices):
        return (
            "a risk is told at every step of a record, a clip or a stack, and is not built for a sequence of "
            f"{sequence.kind}"
        )
    if model.bidirectional:
        return "a risk cannot be bidirectional: what it tells at a step would depend on what comes later"
    return ""
