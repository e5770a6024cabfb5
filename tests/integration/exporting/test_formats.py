"""Exported models say what the originals say, on batches and lengths of which they were told nothing."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import torch

from client.exporting import exported
from client.exporting import exporting as exporting
from client.exporting.checking import FLOAT_TOLERANCE, INT8_TOLERANCE, compared
from client.exporting.exportable import Exportable
from client.exporting.formats import onnx_runner, torch_runner
from client.exporting.interface import interface_of
from client.predicting.model import TrainedModel
from common.errors import ExportDiffers
from common.study import to_canonical
from common.weights import STUDY_TEXT
from tests.conftest import small_study
from tests.integration.exporting.models import MODELS as EVERY
from tests.unit.predicting.finished import opened

MODELS: list[dict[str, Any]] = [
    {"sequence": {"kind": "rows", "size": 16}, "model": {"encoder": "cnn", "pooling": "attention"}},
    {"sequence": {"kind": "rows", "size": 16}, "model": {"cell": "lstm", "layers": 2, "bidirectional": True}},
    {
        "sequence": {"kind": "frames", "size": 8},
        "model": {"cell": "rnn", "encoder": "cnn", "pooling": "last"},
    },
]


CLASSIFIERS = [
    pytest.param(MODELS[0], id="cnn-gru", marks=pytest.mark.slow),
    pytest.param(MODELS[1], id="lstm"),
    pytest.param(MODELS[2], id="clip-rnn", marks=pytest.mark.slow),
]


def trained(folder: Path, sections: dict[str, Any]) -> TrainedModel:
    return opened(folder, small_study(**sections), seed=3)


@pytest.mark.parametrize("sections", CLASSIFIERS)
def test_torch_export(tmp_path: Path, sections: dict[str, Any]) -> None:
    model = trained(tmp_path, sections)
    found = exported(model, tmp_path / "m.pt2", "torch")
    assert found.comparison.difference <= FLOAT_TOLERANCE and found.comparison.cases >= 19
    told = {STUDY_TEXT: ""}
    torch.export.load(io.BytesIO((tmp_path / "m.pt2").read_bytes()), extra_files=told)
    assert told[STUDY_TEXT] == to_canonical(model.study)
    # A length that the check did not take.
    steps = torch.randn(2, 41, model.study.sequence.frame[0] * model.study.sequence.frame[1])
    lengths = torch.tensor([41, 3])
    steps[1, 3:] = 0
    with torch.no_grad():
        expected = model.network(steps, lengths)
    run = torch_runner((tmp_path / "m.pt2").read_bytes(), interface_of(model.study))
    assert torch.allclose(run({"steps": steps, "lengths": lengths})["logits"], expected, atol=1e-5)


@pytest.mark.parametrize("sections", CLASSIFIERS)
def test_onnx(tmp_path: Path, sections: dict[str, Any]) -> None:
    onnx = pytest.importorskip("onnx")
    model = trained(tmp_path, sections)
    found = exported(model, tmp_path / "m.onnx", "onnx")
    assert found.comparison.difference <= FLOAT_TOLERANCE
    proto = onnx.load(tmp_path / "m.onnx")
    assert [(o.domain, o.version) for o in proto.opset_import if not o.domain] == [("", 20)]
    told = {prop.key: prop.value for prop in proto.metadata_props}
    assert told[STUDY_TEXT] == to_canonical(model.study)
    assert json.loads(told["consilium.classes"]) == list(model.study.study.classes)
    assert [len(i.type.tensor_type.shape.dim) for i in proto.graph.input] == [3, 1]


@pytest.mark.parametrize("form", ["torch", "onnx"])
def test_nothing_tells_where_consilium_is_installed(tmp_path: Path, form: Any) -> None:
    exported(trained(tmp_path, MODELS[1]), tmp_path / "model", form)
    content = (tmp_path / "model").read_bytes()
    if form == "torch":
        with ZipFile(io.BytesIO(content)) as archive:
            content = b"".join(archive.read(name) for name in archive.namelist())
    assert b"lengths" in content, "else nothing was read"
    assert b".py" not in content and str(Path.cwd()).encode() not in content


def test_int8_has_products_of_whole_numbers_in_the_scan_too(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    sections = {"sequence": {"kind": "rows", "size": 64}, "model": {"hidden": 64}}
    model = trained(tmp_path, sections)
    small = exported(model, tmp_path / "small.onnx", "onnx", int8=True)
    whole = exported(model, tmp_path / "whole.onnx", "onnx")
    assert 0 < small.comparison.difference <= INT8_TOLERANCE
    assert small.size_bytes < 0.6 * whole.size_bytes
    (scan,) = [n for n in onnx.load(tmp_path / "small.onnx").graph.node if n.op_type == "Scan"]
    (body,) = [attribute.g for attribute in scan.attribute if attribute.HasField("g")]
    assert "MatMulInteger" in {node.op_type for node in body.node}


def test_what_differs_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained(tmp_path, MODELS[1])
    other = trained_otherwise(tmp_path / "other", MODELS[1])
    monkeypatch.setattr(exporting, "exportable", lambda _, step: exporting_network(other))
    with pytest.raises(ExportDiffers):
        exported(model, tmp_path / "m.pt2", "torch")
    assert not list(tmp_path.glob("*m.pt2*"))


def test_numbers_that_are_none_differ(tmp_path: Path) -> None:
    model = trained(tmp_path, MODELS[1])
    with pytest.raises(ExportDiffers):
        compared(model, lambda given: {"logits": torch.full((len(given["steps"]), 2), float("nan"))}, 1.0)


def trained_otherwise(folder: Path, sections: dict[str, Any]) -> TrainedModel:
    folder.mkdir()
    return opened(folder, small_study(**sections), seed=9)


def exporting_network(model: TrainedModel) -> Exportable:
    from client.exporting.exportable import exportable

    return exportable(model)


def test_an_onnx_file_is_run_from_its_bytes(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = trained(tmp_path, MODELS[1])
    exported(model, tmp_path / "m.onnx", "onnx")
    run = onnx_runner((tmp_path / "m.onnx").read_bytes())
    assert run({"steps": torch.zeros(1, 2, 16), "lengths": torch.tensor([2])})["logits"].shape == (1, 2)


def test_histograms_of_gradients_in_onnx(tmp_path: Path) -> None:
    """Of a picture that is even, of one that is in part, and of lengths that are no multiple of a cell."""
    pytest.importorskip("onnxruntime")
    model = trained(tmp_path, EVERY["classification rows gru hog"])
    exported(model, tmp_path / "m.onnx", "onnx")
    lengths = torch.tensor([41, 41, 18, 1])
    steps = torch.randn(4, 41, 80, generator=torch.Generator().manual_seed(0))
    steps[0] = -0.0
    steps[1:3, :, :50] = steps[1:3, :, :50].round()  # halves become zeros of either sign
    steps[torch.arange(41) >= lengths[:, None]] = 0.0
    found = onnx_runner((tmp_path / "m.onnx").read_bytes())({"steps": steps, "lengths": lengths})["logits"]
    with torch.no_grad():
        torch.testing.assert_close(found, model.network(steps, lengths), atol=1e-5, rtol=0)


DEFAULTS = [
    "segmentation slices conv_gru cnn",
    "segmentation rows gru cnn",
    "detection frames conv_gru cnn",
    "detection patches gru cnn",
    "generation rows lstm stack",
    "risk record gru_d",
    "classification rows conv_lstm",
]
"""Of each task what its page of the documentation shows, and a cell of each further kind."""


@pytest.mark.parametrize(
    "name", [DEFAULTS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in DEFAULTS[1:])]
)
def test_other_tasks_and_cells_in_onnx(tmp_path: Path, name: str) -> None:
    onnx = pytest.importorskip("onnx")
    model = trained(tmp_path, EVERY[name])
    assert exported(model, tmp_path / "m.onnx", "onnx").comparison.difference <= FLOAT_TOLERANCE
    proto = onnx.load(tmp_path / "m.onnx")
    told = {prop.key: prop.value for prop in proto.metadata_props}
    ports = json.loads(told["consilium.interface"])
    assert [port["name"] for port in ports["inputs"]] == [value.name for value in proto.graph.input]
    assert [port["name"] for port in ports["outputs"]] == [value.name for value in proto.graph.output]
    for port, value in zip(ports["inputs"], proto.graph.input, strict=True):
        sides = [side.dim_value or None for side in value.type.tensor_type.shape.dim]
        assert sides == [None if isinstance(side, str) else side for side in port["shape"]]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["torch", "onnx"])
@pytest.mark.parametrize("name", EVERY)
def test_every_model_in_every_format(tmp_path: Path, name: str, form: Any) -> None:
    pytest.importorskip("onnxruntime")
    model = trained(tmp_path, EVERY[name])
    assert exported(model, tmp_path / "m", form).comparison.difference <= FLOAT_TOLERANCE


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("segmentation slices conv_gru cnn", marks=pytest.mark.slow),
        pytest.param("detection patches gru cnn", marks=pytest.mark.slow),
        pytest.param("classification rows gru hog", marks=pytest.mark.slow),
        "generation rows gru",
    ],
)
def test_int8_of_other_tasks(tmp_path: Path, name: str) -> None:
    onnx = pytest.importorskip("onnx")
    model = trained(tmp_path, EVERY[name])
    found = exported(model, tmp_path / "m.onnx", "onnx", int8=True)
    assert 0 < found.comparison.difference <= INT8_TOLERANCE
    kinds = {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}
    assert kinds & {"ConvInteger", "MatMulInteger"}
