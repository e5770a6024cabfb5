"""Explanations as files beside the page: a drawing, figures, and of a record a table."""

from __future__ import annotations

import json
from pathlib import Path

from client.explaining.contributions import Contributions
from client.explaining.drawing import drawing_of
from client.explaining.explanation import Explanation
from client.explaining.pictures import png_of
from client.predicting.model import TrainedModel
from client.predicting.writing import made
from common.files import write_atomically
from common.study import Steps

OWN = 0o600
"""Only its owner can read what shows patients' pictures or measurements."""


def document_of(model: TrainedModel, found: Explanation) -> dict[str, object]:
    """An explanation's figures as JSON holds them; of a record those of its variables and steps too."""
    if not isinstance(model.study.sequence, Steps):
        return found.to_json()
    return found.to_json() | Contributions.of(model.study, found).to_json()


def write_files(folder: Path, model: TrainedModel, found: Explanation, number: int) -> list[Path]:
    """Write ``NUMBER.png`` and ``NUMBER.json``, and of a record ``NUMBER.csv``.

    Args:
        folder: Made if it is not there.
        model: The model.
        found: Of one case.
        number: Place of the case among those that are explained; the files are called after it.

    Raises:
        DiskFull, OutputUnwritable: They cannot be written.
    """
    text = json.dumps(document_of(model, found), indent=1, allow_nan=False) + "\n"
    contents: dict[str, bytes | str] = {"png": png_of(drawing_of(model, found)), "json": text}
    if isinstance(model.study.sequence, Steps):
        contents["csv"] = Contributions.of(model.study, found).to_csv()
    paths = []
    for kind, content in contents.items():
        paths.append(made(folder) / f"{number:04d}.{kind}")
        write_atomically(paths[-1], content, mode=OWN)
    return paths
