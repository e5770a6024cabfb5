"""What goes into an exported file and what comes out: names, shapes and what the numbers mean.

One description for the exporters, which axes are free; for the check; and for the model card, where a reader
who has only the file learns how to use it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from common.models.generator import ABOVE, MIXTURES
from common.models.unet import grid_level
from common.study import Frames, Patches, PictureSequence, Rows, Slices, Steps, Study

BATCH, LENGTH = "batch", "length"
Shape = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Port:
    """A tensor that goes in or comes out.

    Attributes:
        name: Of it in the file.
        shape: Its sides; ``batch`` and ``length`` are free.
        meaning: Of its numbers.
        kind: Of its numbers.
    """

    name: str
    shape: Shape
    meaning: str
    kind: Literal["float32", "int64"] = "float32"

    def to_json(self) -> dict[str, Any]:
        """As the file's metadata have it."""
        return {"name": self.name, "shape": list(self.shape), "type": self.kind, "meaning": self.meaning}


@dataclass(frozen=True, slots=True)
class Interface:
    """All of them, in order.

    Attributes:
        inputs: What goes in.
        outputs: What comes out.
        notes: What is left to do outside, a sentence or two each.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As the file's metadata have it."""
        ways = {"inputs": self.inputs, "outputs": self.outputs}
        return {
            **{way: [port.to_json() for port in ports] for way, ports in ways.items()},
            "notes": list(self.notes),
        }


def interface_of(study: Study) -> Interface:
    """That of a study's exported model."""
    sequence = study.sequence
    height, width = sequence.frame
    inputs: tuple[Port, ...] = (
        Port("steps", (BATCH, LENGTH, height * width), f"{_steps(study)}; zeros behind a case's own steps"),
        Port("lengths", (BATCH,), "steps of each case, at least 1", "int64"),
    )
    outputs, notes = _OUTPUTS[study.study.learns](study)
    if study.study.learns == "generation":
        inputs = (*inputs, *_classes(study))
    return Interface(inputs, outputs, notes)


def row_interface(study: Study, states: int, hidden: int) -> Interface:
    """That of a generator's single step, which writes one row.

    Args:
        study: Of generation.
        states: Vectors of the recurrent stack's state.
        hidden: Their width.
    """
    width = study.sequence.frame[1]
    inputs = (
        Port(
            "above",
            (BATCH, ABOVE, width),
            "brightness in [0, 1] of the row above, then of the one above that",
        ),
        Port("row", (BATCH, width), "brightness of the row so far; what is not written yet does not matter"),
        Port(
            "state", (states, BATCH, hidden), "what the row above gave as next_state; zeros for the first row"
        ),
        *_classes(study),
    )
    outputs = (
        Port("parameters", (BATCH, width, 3 * MIXTURES), _PARAMETERS),
        Port(
            "next_state",
            (states, BATCH, hidden),
            "the state for the next row; the same at every pixel of a row",
        ),
    )
    first = "Above the first row of a picture all is grey: 0.5 in `above`."
    return Interface(inputs, outputs, (first, _ONE_BY_ONE, *_DRAWN))


def _steps(study: Study) -> str:
    """What a step is, and on which scale."""
    sequence = study.sequence
    if isinstance(sequence, Steps):
        count = len(sequence.columns)
        return (
            f"{count} scaled values, (value - centre) / scale and 0 where not measured; {count} flags, 1 "
            f"where measured; {count} gaps, time since the last measurement in units of "
            f"{sequence.time_scale:g}; each in the order {', '.join(sequence.columns)}"
        )
    if study.study.task == "generation":
        scale = "brightness in [0, 1], 0 black"
    else:
        scale = "brightness less its mean over the case, by its standard deviation"
    return f"{_picture(sequence)}; {scale}"


def _picture(sequence: PictureSequence) -> str:
    size, whole = sequence.size, "from left to right, row by row from the top"
    match sequence:
        case Rows():
            return f"a picture of {size} x {size} pixels, a step a row from the top, its pixels left to right"
        case Patches():
            order = "row by row from the top"
            if sequence.order == "hilbert":
                order = "in the order `consilium.order` of the file's metadata"
            return (
                f"a picture of {size} x {size} pixels in squares of {sequence.patch}, a step a square, "
                f"{order}, the pixels of a square {whole}"
            )
        case Slices():
            return f"a step a slice, in the order of the stack, {size} x {size} pixels {whole}"
        case Frames():
            return f"a step a frame, in the order of time, {size} x {size} pixels {whole}"
    return f"a step a picture of the patient, {size} x {size} pixels {whole}"


def _named(study: Study) -> str:
    return ", ".join(f"{number} {name}" for number, name in enumerate(study.study.classes))


Described = tuple[tuple[Port, ...], tuple[str, ...]]
_CALIBRATED = "The file gives the model's own logits: `consilium.calibration` in its metadata is not applied."


def _classification(study: Study) -> Described:
    meaning = f"of the classes; their softmax is the probability of each. Classes: {_named(study)}"
    return (Port("logits", (BATCH, len(study.study.classes)), meaning),), (_CALIBRATED,)


def _several_labels(study: Study) -> Described:
    meaning = f"of the labels; the sigmoid of each is its probability. Labels: {_named(study)}"
    return (Port("logits", (BATCH, len(study.study.classes)), meaning),), (_CALIBRATED,)


def _risk(study: Study) -> Described:
    meaning = "the sigmoid is the risk by what was seen up to each step; behind a case's own steps nothing"
    return (Port("logits", (BATCH, LENGTH), meaning),), ()


def _segmentation(study: Study) -> Described:
    height, width = study.sequence.frame
    shape = (BATCH, LENGTH, len(study.study.classes), height, width)
    meaning = (
        "of the classes at each pixel of each step; their softmax over the third axis is the probability, "
        f"the largest is the class. Classes: {_named(study)}; 0 is the background"
    )
    return (Port("logits", shape, meaning),), (
        f"The masks lie on the grid of {_size(study)} pixels that the steps have; laying them back on a "
        "picture of another size is left to you.",
    )


def _detection(study: Study) -> Described:
    cells = _cells(study)
    each = "square" if cells == 1 else "cell of each step"
    score = f"of the classes at each {each}; the sigmoid is the score of a box. Classes: {_named(study)}"
    box = (
        "top, left, bottom, right of the box of each, in fractions of the grid's height and width from its "
        "upper left corner; may reach beyond it"
    )
    outputs = (
        Port("logits", (BATCH, LENGTH, cells, len(study.study.classes)), score),
        Port("boxes", (BATCH, LENGTH, cells, 4), box),
    )
    return outputs, (
        "What the cells say is decoded to boxes in the file. Left to you, of each picture and class: leave "
        "out scores below 0.01 and all but the 300 best, then from the best down every box with more than "
        "0.3 (intersection over union) in common with one that is kept; keep the 100 best of all classes, "
        "and cut sides to [0, 1].",
    )


def _generation(study: Study) -> Described:
    width = study.sequence.frame[1]
    likelihood = "log probability in nats of each pixel's own level, given all before it in reading order"
    outputs = (
        Port("parameters", (BATCH, LENGTH, width, 3 * MIXTURES), _PARAMETERS),
        Port("log_probabilities", (BATCH, LENGTH, width), likelihood),
    )
    return outputs, (
        "Bits a pixel: the negative mean of a picture's own log_probabilities by log 2. To draw pictures, "
        "export the single step (`--step`).",
        *_DRAWN,
    )


_PARAMETERS = (
    f"of a mixture of {MIXTURES} logistic distributions for each pixel's brightness from -1 (black) to 1: "
    f"{MIXTURES} logits of shares, {MIXTURES} means, {MIXTURES} natural logarithms of scales, to be held "
    "between -7 and 7"
)
_ONE_BY_ONE = (
    "For each row from the top and each pixel from the left: run, draw that pixel from its parameters, put "
    "its brightness in [0, 1] into row. After the last pixel of a row, next_state becomes state."
)
_DRAWN = (
    "To draw: choose a part by the softmax of the shares; brightness = mean + scale * log(u / (1 - u)), u "
    "even in (0, 1); (brightness + 1) / 2 cut to [0, 1] and rounded to one of the levels 0, 1/255 ... 1.",
)


def _classes(study: Study) -> tuple[Port, ...]:
    """Only where there is more than one does a generator ask for it."""
    if len(study.study.classes) < 2:
        return ()
    return (Port("classes", (BATCH,), f"of each picture: {_named(study)}", "int64"),)


def _cells(study: Study) -> int:
    """Of the grid of a step."""
    if isinstance(study.sequence, Patches):
        return 1
    height, width = study.sequence.frame
    stride: int = 2 ** grid_level((height, width))
    return -(-height // stride) * -(-width // stride)


def _size(study: Study) -> str:
    size = getattr(study.sequence, "size", 0)
    return f"{size} x {size}"


_OUTPUTS: dict[str, Callable[[Study], Described]] = {
    "classification": _classification,
    "several labels": _several_labels,
    "risk": _risk,
    "segmentation": _segmentation,
    "detection": _detection,
    "generation": _generation,
}
"""By what a study learns."""
