"""What is exported says what the model itself says, before any exporter has touched it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from client.exporting import checking, hog
from client.exporting.checking import FLOAT_TOLERANCE, compared
from client.exporting.exportable import Exportable, exportable
from client.exporting.formats import Run, Tensors
from client.exporting.interface import interface_of
from client.predicting.model import TrainedModel
from common.errors import ExportDiffers, TaskNotServed
from tests.conftest import small_study
from tests.integration.exporting.models import DETECTION, GENERATION, HILBERT, MODELS, ROWS, SEGMENTATION, of
from tests.unit.predicting.finished import opened


def as_it_is(made: Exportable) -> Run:
    """Runs the network without a file."""

    def run(given: Tensors) -> Tensors:
        with torch.no_grad():
            found = made.network(*(given[port.name] for port in made.interface.inputs))
        every = found if isinstance(found, tuple) else (found,)
        return dict(zip((port.name for port in made.interface.outputs), every, strict=True))

    return made.whole(run)


@pytest.fixture(autouse=True)
def _few_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one case and of three, shorter and longer."""
    monkeypatch.setattr(checking, "SHAPES", ((1, 1), (1, 6), (3, 5), (3, 9)))


@pytest.mark.parametrize("name", MODELS)
def test_networks(tmp_path: Path, name: str) -> None:
    model = opened(tmp_path, small_study(**MODELS[name]), seed=3)
    found = compared(model, as_it_is(exportable(model)), FLOAT_TOLERANCE)
    assert found.cases >= 8 and 0 <= found.logits < 1e-4


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith("generation")])
def test_a_generator_writes_row_by_row_what_it_writes_at_once(tmp_path: Path, name: str) -> None:
    model = opened(tmp_path, small_study(**MODELS[name]), seed=3)
    assert compared(model, as_it_is(exportable(model, step=True)), FLOAT_TOLERANCE).cases >= 8


def test_shapes_are_those_that_are_told(tmp_path: Path) -> None:
    for number, sections in enumerate(MODELS.values()):
        (tmp_path / str(number)).mkdir()
        model = opened(tmp_path / str(number), small_study(**sections))
        made = exportable(model)
        sides = {"batch": 2, "length": 5}
        given = {
            port.name: torch.zeros([sides.get(side, side) for side in port.shape])  # type: ignore[call-overload]
            for port in made.interface.inputs
        }
        given["lengths"] = torch.tensor([5, 3])
        given |= {"classes": torch.tensor([0, 1])} if "classes" in given else {}
        told = {
            port.name: tuple(sides.get(side, side) for side in port.shape) for port in made.interface.outputs
        }
        assert {name: tuple(value.shape) for name, value in as_it_is(made)(given).items()} == told


SPOILT: dict[str, Any] = {
    "logits": of(SEGMENTATION, ROWS, "gru"),
    "boxes": of(DETECTION, HILBERT, "gru"),
    "log_probabilities": of(GENERATION, ROWS, "gru"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_the_check_sees_what_differs(tmp_path: Path, name: str) -> None:
    model = opened(tmp_path, small_study(**SPOILT[name]))
    true = as_it_is(exportable(model))

    def run(given: Tensors) -> Tensors:
        found = true(given)
        found[name] = found[name].clone()
        found[name][0, 0] += torch.linspace(0, 0.1, found[name][0, 0].numel()).view_as(found[name][0, 0])
        return found

    with pytest.raises(ExportDiffers):
        compared(model, run, FLOAT_TOLERANCE)
    compared(model, true, FLOAT_TOLERANCE)


def test_the_check_sees_a_gradient_that_points_the_wrong_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where ``across`` is a zero with a minus, as it is in places of pictures that are even in part."""
    model = opened(tmp_path, small_study(**MODELS["classification rows gru hog"]))
    true = as_it_is(exportable(model))
    compared(model, true, FLOAT_TOLERANCE)

    def divided(down: torch.Tensor, across: torch.Tensor) -> torch.Tensor:
        steep = torch.atan(down / across)
        half = torch.where(down > 0, torch.pi, -torch.pi)
        return torch.where(across < 0, steep + half, steep).nan_to_num(0.0)

    monkeypatch.setattr(hog, "angle", divided)
    with pytest.raises(ExportDiffers):
        compared(model, true, FLOAT_TOLERANCE)


def test_a_step_is_of_generation_alone(tmp_path: Path) -> None:
    model: TrainedModel = opened(tmp_path, small_study())
    with pytest.raises(TaskNotServed, match="classification"):
        exportable(model, step=True)


def test_scale_order_and_names_are_told() -> None:
    told = interface_of(small_study(**SPOILT["boxes"]))
    assert "standard deviation" in told.inputs[0].meaning and "consilium.order" in told.inputs[0].meaning
    assert "0 nodule, 1 mass" in told.outputs[0].meaning and "0.3" in told.notes[0]
    assert "[0, 1]" in interface_of(small_study(**SPOILT["log_probabilities"])).inputs[0].meaning
    record = interface_of(small_study(**MODELS["risk record gru_d"])).inputs[0]
    assert "HR, BP" in record.meaning and record.shape == ("batch", "length", 6)
