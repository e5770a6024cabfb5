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
from torch.fx import GraphModule

from client.exporting.interface import BATCH, LENGTH, Interface, Port
from client.predicting.model import CALIBRATION_TEXT, TrainedModel
from common.errors import ExtraMissing
from common.sequences import hilbert
from common.study import Patches, to_canonical
from common.weights import STUDY_TEXT

OPSET = 20
Tensors = dict[str, torch.Tensor]
Run = Callable[[Tensors], Tensors]
"""From a file's inputs by their names to its outputs by theirs."""

_NEEDS = ("onnx", "onnxscript", "onnxruntime")


def to_torch(network: nn.Module, interface: Interface, about: Mapping[str, str]) -> bytes:
    """A ``torch.export`` archive (.pt2) with dynamic batch and length, and ``about`` as extra files."""
    buffer = io.BytesIO()
    with _quiet():
        torch.export.save(_program(network, interface), buffer, extra_files=dict(about))
    return buffer.getvalue()


def to_onnx(network: nn.Module, interface: Interface, about: Mapping[str, str], *, int8: bool) -> bytes:
    """An ONNX model of opset ``OPSET`` with dynamic batch and length; ``about`` stands in its metadata.

    Args:
        network: To be exported.
        interface: Of it.
        about: What to say of it.
        int8: Quantise the weights of products to 8 bits, activations when it runs.

    Raises:
        ExtraMissing: onnx, onnxscript or onnxruntime is not installed.
    """
    onnx = _needed()["onnx"]
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            _program(network, interface),
            dynamo=True,
            opset_version=OPSET,
            input_names=[port.name for port in interface.inputs],
            output_names=[port.name for port in interface.outputs],
            verbose=False,
        )
    assert program is not None  # noqa: S101  only the older exporter gives None
    proto = program.model_proto
    _without_remarks(proto.graph)
    if int8:
        proto = _quantised(proto)
    onnx.helper.set_model_props(proto, dict(about))
    content: bytes = proto.SerializeToString()
    return content


def torch_runner(content: bytes, interface: Interface) -> Run:
    """What runs a ``torch.export`` archive."""
    with _quiet():
        module = torch.export.load(io.BytesIO(content)).module()

    def run(given: Tensors) -> Tensors:
        with torch.no_grad(), _quiet():
            found = module(*(given[port.name] for port in interface.inputs))
        every = found if isinstance(found, tuple | list) else (found,)
        return dict(zip((port.name for port in interface.outputs), every, strict=True))

    return run


def onnx_runner(content: bytes) -> Run:
    """What runs an ONNX model on the CPU.

    Raises:
        ExtraMissing: onnxruntime is not installed.
    """
    runtime = _needed()["onnxruntime"]
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(given: Tensors) -> Tensors:
        found = session.run(names, {name: tensor.numpy() for name, tensor in given.items()})
        return {name: torch.from_numpy(array) for name, array in zip(names, found, strict=True)}

    return run


def about(model: TrainedModel, interface: Interface) -> dict[str, str]:
    """What an exported file says of itself: study, classes, calibration, inputs, outputs, original's digest.

    Of patches along Hilbert's curve their order too.
    """
    fitted, sequence = model.calibration, model.study.sequence
    by_curve = isinstance(sequence, Patches) and sequence.order == "hilbert"
    return {
        STUDY_TEXT: to_canonical(model.study),
        **({} if fitted is None else {CALIBRATION_TEXT: json.dumps(fitted.to_json())}),
        "consilium.classes": json.dumps(list(model.study.study.classes)),
        "consilium.interface": json.dumps(interface.to_json()),
        "consilium.model_digest": model.digest,
        **({"consilium.order": json.dumps(_order(sequence))} if by_curve else {}),
    }


def _order(sequence: Any) -> list[int]:
    """The place, row by row, of the square that each step shows."""
    places: list[int] = hilbert(sequence.size // sequence.patch).tolist()
    return places


def _program(network: nn.Module, interface: Interface) -> torch.export.ExportedProgram:
    examples = tuple(_example(port) for port in interface.inputs)
    dynamic = tuple(
        {axis: Dim.DYNAMIC for axis, side in enumerate(port.shape) if isinstance(side, str)}
        for port in interface.inputs
    )
    with torch.no_grad():
        program = torch.export.export(network, examples, dynamic_shapes=dynamic, strict=False)
    for graph in program.graph_module.modules():
        for node in graph.graph.nodes if isinstance(graph, GraphModule) else ():
            node.meta.pop("stack_trace", None)  # where Consilium is installed is nobody's business
    return program


def _example(port: Port) -> torch.Tensor:
    """Something to put in; only its shape counts."""
    sides = {BATCH: 3, LENGTH: 9}
    shape = [sides[side] if isinstance(side, str) else side for side in port.shape]
    if port.kind == "float32":
        return torch.zeros(shape)
    return torch.tensor([9, 6, 2]) if port.name == "lengths" else torch.zeros(shape, dtype=torch.int64)


def _quantised(proto: Any) -> Any:
    """The model with 8-bit weights in its products and convolutions.

    Products inside of scans too; of convolutions there onnxruntime does not find the weights, so they stay.
    """
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
                nodes_to_exclude=[name for body in _bodies(proto.graph) for name in _convolutions(body)],
                extra_options={"EnableSubgraph": True},
            )
        return onnx.load(small)


def _without_shapes(graph: Any) -> None:
    """Take out what the exporter believes of shapes inside: of scans it is wrong, and is inferred anew."""
    del graph.value_info[:]
    for body in _bodies(graph):
        _without_shapes(body)
        for value in (*body.input, *body.output):
            value.type.tensor_type.ClearField("shape")


def _without_remarks(graph: Any) -> None:
    """Take out what the exporter notes at each node: names of files here, and of its own passes."""
    for node in graph.node:
        del node.metadata_props[:]
    for body in _bodies(graph):
        _without_remarks(body)


def _bodies(graph: Any) -> Iterator[Any]:
    """Of the scans in a graph."""
    return (part.g for node in graph.node for part in node.attribute if part.HasField("g"))


def _convolutions(graph: Any) -> list[str]:
    """Names of the convolutions in a graph."""
    return [node.name for node in graph.node if node.op_type == "Conv"]


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
