"""The formats that a model is written in, and how each is run again to be compared with the original."""

from __future__ import annotations

import importlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from torch.export import Dim

from client.predicting.model import CALIBRATION_TEXT, TrainedModel
from common.errors import ExtraMissing
from common.study import to_canonical
from common.weights import STUDY_TEXT

OPSET = 20
Run = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
_INPUTS, _OUTPUTS = ["steps", "lengths"], ["logits"]
_NEEDS = ("onnx", "onnxscript", "onnxruntime")


def to_torch(network: nn.Module, features: int, about: Mapping[str, str]) -> bytes:
    """A ``torch.export`` archive (.pt2) with dynamic batch and length, and ``about`` as extra files."""
    buffer = io.BytesIO()
    with _quiet():
        torch.export.save(_program(network, features), buffer, extra_files=dict(about))
    return buffer.getvalue()


def to_onnx(network: nn.Module, features: int, about: Mapping[str, str], *, int8: bool) -> bytes:
    """An ONNX model of opset ``OPSET`` with dynamic batch and length; ``about`` stands in its metadata.

    Args:
        network: To be exported.
        features: F of its steps.
        about: What to say of it.
        int8: Quantise the weights of products to 8 bits, activations when it runs.

    Raises:
        ExtraMissing: onnx, onnxscript or onnxruntime is not installed.
    """
    onnx = _needed()["onnx"]
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            _program(network, features),
            dynamo=True,
            opset_version=OPSET,
            input_names=_INPUTS,
            output_names=_OUTPUTS,
            verbose=False,
        )
    assert program is not None  # noqa: S101  only the older exporter gives None
    proto = program.model_proto
    if int8:
        proto = _quantised(proto)
    onnx.helper.set_model_props(proto, dict(about))
    content: bytes = proto.SerializeToString()
    return content


def torch_runner(content: bytes) -> Run:
    """What runs a ``torch.export`` archive."""
    with _quiet():
        module = torch.export.load(io.BytesIO(content)).module()

    def run(steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), _quiet():
            found: torch.Tensor = module(steps, lengths)
        return found

    return run


def onnx_runner(content: bytes) -> Run:
    """What runs an ONNX model on the CPU.

    Raises:
        ExtraMissing: onnxruntime is not installed.
    """
    runtime = _needed()["onnxruntime"]
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        given = {"steps": steps.numpy(), "lengths": lengths.numpy()}
        return torch.from_numpy(session.run(None, given)[0])

    return run


def about(model: TrainedModel) -> dict[str, str]:
    """What an exported file says of itself: study, classes, calibration, digest of the original weights."""
    fitted = model.calibration
    return {
        STUDY_TEXT: to_canonical(model.study),
        **({} if fitted is None else {CALIBRATION_TEXT: json.dumps(fitted.to_json())}),
        "consilium.classes": json.dumps(list(model.study.study.classes)),
        "consilium.model_digest": model.digest,
    }


def _program(network: nn.Module, features: int) -> torch.export.ExportedProgram:
    steps, lengths = torch.randn(3, 9, features), torch.tensor([9, 6, 2])
    dynamic = {"steps": {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}, "lengths": {0: Dim.DYNAMIC}}
    with torch.no_grad():
        return torch.export.export(network, (steps, lengths), dynamic_shapes=dynamic, strict=False)


def _quantised(proto: Any) -> Any:
    """The model with 8-bit weights in its products, those inside of scans too."""
    onnx = _needed()["onnx"]
    quantization = importlib.import_module("onnxruntime.quantization")
    with TemporaryDirectory() as folder:
        whole, small = Path(folder) / "whole.onnx", Path(folder) / "small.onnx"
        _without_shapes(proto.graph)
        whole.write_bytes(proto.SerializeToString())
        with _quiet():
            quantization.quantize_dynamic(
                whole,
                small,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                extra_options={"EnableSubgraph": True},
            )
        return onnx.load(small)


def _without_shapes(graph: Any) -> None:
    """Take out what the exporter believes of shapes inside: of scans it is wrong, and is inferred anew."""
    del graph.value_info[:]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _without_shapes(attribute.g)
                for value in (*attribute.g.input, *attribute.g.output):
                    value.type.tensor_type.ClearField("shape")


def _needed() -> dict[str, Any]:
    try:
        return {name: importlib.import_module(name) for name in _NEEDS}
    except ImportError as error:
        raise ExtraMissing(
            f"export to ONNX needs {error.name}", hint="Install it: pip install 'consilium[export]'"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """The block in which exporters' remarks on their own insides are not shown."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
