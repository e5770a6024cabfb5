"""Predictions as a file: JSON with everything, or CSV with a line for each case or each thing found in it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from client.predicting.answer import Answer, Refused, Told
from client.predicting.calibration import calibration_told
from client.predicting.model import TrainedModel
from client.predicting.segmentation import SegmentationAnswer
from common import __version__
from common.files import unwritable, write_atomically

SCHEMA = 1
Result = Answer | Refused | Told


def told_of(result: Result) -> Told:
    """What is written of a result."""
    return result if isinstance(result, Told) else Told.of(result)


def to_document(model: TrainedModel, results: Sequence[Result]) -> dict[str, Any]:
    """All of it as JSON holds it."""
    head = model.study.study
    return {
        "schema": SCHEMA,
        "consilium": __version__,
        "model": {
            "digest": model.digest,
            "study": head.name,
            "task": head.task,
            "classes": list(head.classes),
        },
        "calibration": calibration_told(model.calibration),
        "cases": [result.document for result in map(told_of, results)],
    }


def to_rows(results: Sequence[Result]) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and lines; one that was refused has empty cells and its code in the last column."""
    rows = [row for result in map(told_of, results) for row in result.rows]
    columns = dict.fromkeys(key for row in rows for key in row if key != "refused")
    return [*columns, "refused"], rows


def made(folder: Path) -> Path:
    """The folder, made if it is not there.

    Raises:
        OutputUnwritable: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None
    return folder


def write_mask(folder: Path, answer: SegmentationAnswer, classes: Sequence[str], number: int) -> Path:
    """Write a mask as ``NUMBER.npz``: ``mask`` (T, H, W) uint8 and ``classes``, the name of each value.

    Raises:
        DiskFull, OutputUnwritable: It cannot be written.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, mask=answer.mask, classes=np.array(list(classes), dtype=np.str_))
    path = made(folder) / f"{number:04d}.npz"
    write_atomically(path, buffer.getvalue())
    return path


def write_predictions(path: Path, model: TrainedModel, results: Sequence[Result]) -> None:
    """Write ``.csv``, or JSON under any other name.

    Raises:
        DiskFull, OutputUnwritable: It cannot be written.
    """
    if path.suffix.lower() != ".csv":
        write_atomically(path, json.dumps(to_document(model, results), indent=1, allow_nan=False) + "\n")
        return
    text = io.StringIO(newline="")
    columns, rows = to_rows(results)
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())
