"""From a trained model to what is exported of it: one entry of a table for each task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from client.exporting.formats import Run, Tensors
from client.exporting.generating import ExportableGenerator, ExportableRow
from client.exporting.interface import Interface, interface_of, row_interface
from client.exporting.network import (
    ExportableClassifier,
    ExportableFrameBoxes,
    ExportableMasks,
    ExportablePatchBoxes,
    ExportableRisk,
    ExportableStrips,
)
from client.predicting.model import TrainedModel, learns
from common.errors import TaskNotServed
from common.learning import learning_of
from common.learning.detection import Detection
from common.models import RiskModel, RowGenerator, SequenceClassifier
from common.models.detector import FrameDetector, PatchDetector
from common.models.generator import ABOVE
from common.models.logistics import levels_of, log_probabilities
from common.models.segmenter import FrameSegmenter, StripSegmenter


@dataclass(frozen=True, slots=True, eq=False)
class Exportable:
    """What is exported.

    Attributes:
        network: On the CPU, in eval mode.
        interface: Of it.
        whole: From the runner of the exported file to one of whole cases, as :func:`interface_of` has them.
    """

    network: nn.Module
    interface: Interface
    whole: Callable[[Run], Run]


def exportable(model: TrainedModel, *, step: bool = False) -> Exportable:
    """What is exported of a model.

    Args:
        model: The model.
        step: Of a generator, the network that writes a single row.

    Raises:
        TaskNotServed: Its task, or a layer of it, cannot be exported.
    """
    if step:
        return _single_row(model)
    return Exportable(network_of(model), interface_of(model.study), lambda run: run)


def network_of(model: TrainedModel) -> nn.Module:
    """The network of a model over whole cases.

    Raises:
        TaskNotServed: A layer of it cannot be exported.
    """
    match model.network:
        case SequenceClassifier() as network:
            return ExportableClassifier(network)
        case RiskModel() as network:
            return ExportableRisk(network)
        case StripSegmenter() as network:
            return ExportableStrips(network)
        case FrameSegmenter() as network:
            return ExportableMasks(network)
        case PatchDetector() as network:
            return ExportablePatchBoxes(network, detection_of(model).grid)
        case FrameDetector() as network:
            return ExportableFrameBoxes(network, detection_of(model).grid)
        case RowGenerator() as network:
            return ExportableGenerator(network)
    raise TaskNotServed(f"a model of kind {type(model.network).__name__} cannot be exported yet")


def detection_of(model: TrainedModel) -> Detection:
    """What a detection study learns, with the grid of its cells."""
    learning = learning_of(model.study)
    assert isinstance(learning, Detection)  # noqa: S101  as its network says
    return learning


def _single_row(model: TrainedModel) -> Exportable:
    if not isinstance(model.network, RowGenerator):
        raise TaskNotServed(
            f"a single step that draws is exported of generation; this is a model of {learns(model.study)}"
        )
    network = ExportableRow(model.network)
    states, hidden = network.recurrent.states, model.network.width
    interface = row_interface(model.study, states, hidden)
    return Exportable(network, interface, lambda run: _row_by_row(run, states, hidden))


def _row_by_row(run: Run, states: int, hidden: int) -> Run:
    """What runs a single step over all rows of pictures that are known."""

    def whole(given: Tensors) -> Tensors:
        pictures = given["steps"]
        batch, rows, width = pictures.shape
        padded = torch.cat([pictures.new_full((batch, ABOVE, width), 0.5), pictures], dim=1)
        state, found = pictures.new_zeros(states, batch, hidden), []
        rest = {name: given[name] for name in given.keys() & {"classes"}}
        for row in range(rows):
            above = padded[:, row : row + ABOVE].flip(1)
            said = run({"above": above, "row": pictures[:, row], "state": state, **rest})
            found.append(said["parameters"])
            state = said["next_state"]
        parameters = torch.stack(found, dim=1)
        nats = log_probabilities(parameters, levels_of(pictures))
        return {"parameters": parameters, "log_probabilities": nats}

    return whole
