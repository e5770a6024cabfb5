"""A model as a file for another runtime, checked before it is left there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from client.exporting.checking import FLOAT_TOLERANCE, INT8_TOLERANCE, Comparison, compared
from client.exporting.exportable import exportable
from client.exporting.formats import about, onnx_runner, to_onnx, to_torch, torch_runner
from client.predicting.model import TrainedModel
from common.files import write_atomically

Format = Literal["torch", "onnx"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        path: Where.
        size_bytes: How large it is.
        comparison: With the original.
    """

    path: Path
    size_bytes: int
    comparison: Comparison


def exported(
    model: TrainedModel, path: Path, form: Format, *, int8: bool = False, step: bool = False
) -> Exported:
    """Write a model for another runtime.

    Args:
        model: The model.
        path: Where.
        form: ``torch``: a ``torch.export`` archive; ``onnx``: ONNX.
        int8: With ``onnx``: weights of 8 bits.
        step: Of a generator, the single step that draws a row, and not whole pictures.

    Raises:
        TaskNotServed: The model cannot be exported, or not so.
        ExtraMissing: What writes or runs the format is not installed.
        ExportDiffers: It does not give what the original gives; nothing is written.
        DiskFull, OutputUnwritable: It cannot be written.
    """
    made = exportable(model, step=step)
    interface, said = made.interface, about(model, made.interface)
    if form == "torch":
        content = to_torch(made.network, interface, said)
        run = torch_runner(content, interface)
    else:
        content = to_onnx(made.network, interface, said, int8=int8)
        run = onnx_runner(content)
    tolerance = INT8_TOLERANCE if int8 else FLOAT_TOLERANCE
    found = compared(model, made.whole(run), tolerance, coarse=int8)
    write_atomically(path, content)
    return Exported(path, len(content), found)
