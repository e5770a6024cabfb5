"""Predictions as a file: JSON with everything, or CSV with a line for each case."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from client.predicting.answer import Answer, Refused
from client.predicting.model import TrainedModel
from common import __version__
from common.files import write_atomically

SCHEMA = 1


def to_document(model: TrainedModel, results: Sequence[Answer | Refused]) -> dict[str, Any]:
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
        "calibration": model.calibration.to_json(),
        "cases": [result.to_json() for result in results],
    }


def to_rows(results: Sequence[Answer | Refused]) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and lines; one that was refused has empty cells and its code in the last column."""
    rows = [result.to_row() for result in results]
    columns = dict.fromkeys(key for row in rows for key in row if key != "refused")
    return [*columns, "refused"], rows


def write_predictions(path: Path, model: TrainedModel, results: Sequence[Answer | Refused]) -> None:
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
