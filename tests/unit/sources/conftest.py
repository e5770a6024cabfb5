"""Small manifests on disk, and studies of every task."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from common.study import Study, parse_study
from tests.fitting_models import model_for

TASKS = ("classification", "segmentation", "detection", "generation", "risk", "several labels")
Save = Callable[[str, NDArray[Any]], str]
Written = Callable[[list[dict[str, str]]], Path]


@pytest.fixture
def any_study() -> Callable[..., Study]:
    """A study of any task."""

    def make(
        task: str = "classification",
        sequence: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        **tables: Any,
    ) -> Study:
        head = {"name": "x", "task": task, "labels": labels or {"0": "none", "1": "lesion"}}
        head |= tables.pop("study", {})
        sequence = sequence or {"kind": "rows", "size": 8}
        model = model_for(task, sequence["kind"])
        return parse_study({"study": head, "sequence": sequence, "model": model, **tables})

    return make


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Saves an array as PNG or numpy file, whichever its name says."""

    def saved(name: str, array: NDArray[Any]) -> str:
        if name.endswith(".png"):
            Image.fromarray(array).save(tmp_path / name)
        elif name.endswith(".npy"):
            np.save(tmp_path / name, array)
        else:
            np.savez(tmp_path / name, frames=array)
        return name

    return saved


@pytest.fixture
def manifest(tmp_path: Path) -> Written:
    """Writes a manifest of rows, each of patient p<number>, in training at elm, with label 0 if not said."""

    def written(rows: list[dict[str, str]]) -> Path:
        common = {"site": "elm", "split": "train", "label": "0"}
        full = [{**common, "patient_id": f"p{n}", **row} for n, row in enumerate(rows)]
        path = tmp_path / "manifest.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, sorted({key for row in full for key in row}), restval="")
            writer.writeheader()
            writer.writerows(full)
        return path

    return written
