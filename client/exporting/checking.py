"""Whether an exported model says what the original says, on other batches and lengths than its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from client.exporting.exportable import detection_of
from client.exporting.formats import Run, Tensors
from client.exporting.interface import LENGTH, interface_of
from client.predicting.model import TrainedModel, learns
from common.errors import ExportDiffers
from common.learning.boxes import Grid
from common.models.logistics import levels_of, log_probabilities
from common.models.masks import time_mask
from common.sequences import SequenceBatch
from common.study import Patches, Steps

FLOAT_TOLERANCE = 1e-5
INT8_TOLERANCE = 0.05
"""Largest difference of what :data:`MEASURES` compares."""

SHAPES = ((1, 1), (1, 16), (2, 5), (3, 9), (5, 33), (7, 20))
"""Batch and longest length; and the study's own length where it has one."""
MOST_VALUES = 2**22
"""Of a batch's steps: with large pictures it is shorter."""
SEED = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the check found.

    Attributes:
        difference: Largest difference of what is asked of the model.
        measure: What that is, such as a probability.
        logits: Largest difference of the outputs themselves, before they become probabilities or likelihoods.
        cases: On how many cases.
        tolerance: What ``difference`` may be.
    """

    difference: float
    measure: str
    logits: float
    cases: int
    tolerance: float


def compared(model: TrainedModel, run: Run, tolerance: float, *, coarse: bool = False) -> Comparison:
    """Compare on random cases whose values are spread as those of true ones are.

    Args:
        model: The original.
        run: What runs the exported file on whole cases.
        tolerance: What the difference may be.
        coarse: Whether its weights have 8 bits. Then of pixels the mean over a picture counts: eight bits
            carry single pixels at the edge between two classes over, and the mask stays what it is.

    Raises:
        ExportDiffers: It is more, or something is no number.
    """
    task = learns(model.study)
    measure, answers = MEASURES[task]
    apart = _apart
    if coarse and task == "segmentation":
        measure, apart = f"{measure}, as a mean over a picture,", _apart_by_picture
    difference, logits, cases = 0.0, 0.0, 0
    for given in _batches(model):
        original = _own(model, given, _original(model, given))
        exported = _own(model, given, run(given))
        _check_form(original, exported)
        first = next(iter(original))
        logits = max(logits, _apart(exported[first], original[first]))
        pairs = zip(answers(exported, given), answers(original, given), strict=True)
        difference = max(difference, *(apart(*pair) for pair in pairs))
        cases += len(given["lengths"])
    if not difference <= tolerance:
        raise ExportDiffers(f"{measure} differs by {difference:.2g}; {tolerance:g} is allowed")
    return Comparison(difference, measure, logits, cases, tolerance)


def _check_form(original: Tensors, exported: Tensors) -> None:
    for name, expected in original.items():
        found = exported.get(name)
        if found is None or found.shape != expected.shape or not found.isfinite().all():
            shape = None if found is None else tuple(found.shape)
            raise ExportDiffers(f"{name} is {shape} for {tuple(expected.shape)}, or no numbers")


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference."""
    return float((one - other).abs().max())


def _apart_by_picture(one: torch.Tensor, other: torch.Tensor) -> float:
    """Of (B, T, C, h, w) the largest mean over a picture's pixels of the probability that has moved."""
    return float((one - other).abs().sum(dim=2).mean(dim=(2, 3)).max() / 2)


def _original(model: TrainedModel, given: Tensors) -> Tensors:
    """What the model itself gives, in the words of the interface."""
    steps, lengths = given["steps"], given["lengths"]
    targets = given.get("classes", torch.zeros_like(lengths))
    with torch.no_grad():
        said = model.network.on(SequenceBatch(steps, lengths, targets).to(model.device)).float().cpu()
    match learns(model.study):
        case "detection":
            classes, learning = len(model.study.study.classes), detection_of(model)
            grid = learning.grid
            if isinstance(model.study.sequence, Patches):  # whose steps are the cells
                cut = Grid(grid.centres[: said.shape[1]], grid.height, grid.width)
                boxes = cut.boxes(said[:, :, 0, classes:]).unsqueeze(2)
            else:
                boxes = grid.boxes(said[..., classes:])
            return {"logits": said[..., :classes], "boxes": boxes}
        case "generation":
            return {"parameters": said, "log_probabilities": log_probabilities(said, levels_of(steps))}
    return {"logits": said}


def _own(model: TrainedModel, given: Tensors, found: Tensors) -> Tensors:
    """Outputs with zeros behind each case's own steps: what stands there means nothing."""
    kept = {}
    for port in interface_of(model.study).outputs:
        value = found[port.name].float()
        if LENGTH in port.shape:
            mask = time_mask(given["lengths"], value.shape[1], value.device)
            value = value.masked_fill(~mask.reshape(*mask.shape, *(1,) * (value.dim() - 2)), 0.0)
        kept[port.name] = value
    return kept


def _classes(found: Tensors, given: Tensors) -> list[torch.Tensor]:
    return [found["logits"].softmax(1)]


def _each(found: Tensors, given: Tensors) -> list[torch.Tensor]:
    """Of labels, or steps, each a question of its own."""
    return [found["logits"].sigmoid()]


def _pixels(found: Tensors, given: Tensors) -> list[torch.Tensor]:
    return [found["logits"].softmax(2)]


def _boxes(found: Tensors, given: Tensors) -> list[torch.Tensor]:
    """Scores, and sides within the picture, which are what is left of them at last."""
    return [found["logits"].sigmoid(), found["boxes"].clamp(0, 1)]


def _bits(found: Tensors, given: Tensors) -> list[torch.Tensor]:
    """(B,) bits a pixel. A single pixel's likelihood may be so narrow that rounding moves it."""
    nats = found["log_probabilities"].double().sum(dim=(1, 2))
    return [nats / (given["lengths"] * given["steps"].shape[2]) / math.log(2)]


MEASURES: dict[str, tuple[str, Callable[[Tensors, Tensors], list[torch.Tensor]]]] = {
    "classification": ("a probability", _classes),
    "several labels": ("a probability", _each),
    "risk": ("a probability", _each),
    "segmentation": ("a probability of a pixel", _pixels),
    "detection": ("a score, or a box's side in parts of the picture's,", _boxes),
    "generation": ("bits a pixel of a picture", _bits),
}
"""By what a study learns, what is compared."""


def _batches(model: TrainedModel) -> Iterator[Tensors]:
    generator = torch.Generator().manual_seed(SEED)
    sequence, study = model.study.sequence, model.study.study
    features, own = math.prod(sequence.frame), getattr(sequence, "steps", None)
    for batch, length in (*SHAPES, *(((4, own),) if own else ())):
        longest = max(1, min(length, MOST_VALUES // (batch * features)))
        if study.task == "detection" and own:  # there are no cells behind a picture's last
            longest = min(longest, own)
        lengths = torch.randint(1, longest + 1, (batch,), generator=generator)
        lengths[0] = longest
        steps = _random_steps((batch, longest, features), model, generator)
        mask = torch.arange(longest)[None, :] < lengths[:, None]
        given = {"steps": steps * mask.unsqueeze(2), "lengths": lengths}
        if any(port.name == "classes" for port in interface_of(model.study).inputs):
            given["classes"] = torch.randint(0, len(study.classes), (batch,), generator=generator)
        yield given


def _random_steps(
    shape: tuple[int, int, int], model: TrainedModel, generator: torch.Generator
) -> torch.Tensor:
    """Brightness, standardised or not; or values where measured, flags and gaps.

    Where gradients are counted, half of a step's pixels are whole numbers: as in true pictures, many a pixel
    there is as bright as its neighbours, and its gradient lies along an axis or has no direction.
    """
    if model.study.study.task == "generation":
        return torch.rand(shape, generator=generator)
    values = torch.randn(shape, generator=generator)
    if model.study.model.encoder == "hog":
        even = values[..., : shape[2] // 2]
        even.round_()
    if not isinstance(model.study.sequence, Steps):
        return values
    value, flag, gap = values.chunk(3, dim=2)
    flag = (flag > 0).float()
    return torch.cat([value * flag, flag, gap.abs()], dim=2)
