"""Pictures that a generator draws, on one sheet: a row for each class, and true ones to compare them with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from client.explaining.panels import panelled
from client.explaining.pictures import sheet
from client.images import place_of
from client.manifest import Condition, read_manifest
from client.predicting.model import TrainedModel, learns
from client.predicting.tables import named_case
from common.errors import NoSuchSite, TaskNotServed
from common.models.generator import RowGenerator
from common.models.sampling import sample
from common.sequences import from_steps
from common.study import Rows

LEAST = 64
"""Pixels of a picture on the sheet, at least: smaller ones are made larger by whole factors."""

Drawn = dict[str, NDArray[np.float32]]
"""By class, (N, H, W) brightness in [0, 1]."""


def drawn_pictures(
    model: TrainedModel, count: int, classes: Sequence[str] = (), seed: int = 0, temperature: float = 1.0
) -> Drawn:
    """Pictures of each class; the same seed gives the same on a CPU.

    Args:
        model: Of a generation study.
        count: Of each class, at least 1.
        classes: Which; all of them if none is named.
        seed: Everything follows from it.
        temperature: Above 0; below 1 the likely is likelier.

    Raises:
        TaskNotServed: The model is no generator, or has no such class.
    """
    names = model.study.study.classes
    if not isinstance(model.network, RowGenerator):
        raise TaskNotServed(f"draw serves generation; this is a model of {learns(model.study)}")
    unknown = [name for name in classes if name not in names]
    if unknown:
        raise TaskNotServed(f"there is no class {unknown[0]!r}; the study has {', '.join(names)}")
    wanted = [name for name in names if not classes or name in classes]
    numbers = torch.tensor([names.index(name) for name in wanted]).repeat_interleave(count)
    generator = torch.Generator(model.device).manual_seed(seed)
    pictures = sample(model.network, numbers, generator, temperature).cpu().numpy()
    return {name: pictures[count * place : count * (place + 1)] for place, name in enumerate(wanted)}


def true_pictures(model: TrainedModel, manifest: Path, count: int, where: Sequence[Condition] = ()) -> Drawn:
    """The first pictures of each class in a manifest, as the model reads them.

    Args:
        model: Of a generation study of single pictures.
        manifest: Its labels say of which class a picture is.
        count: Of each class at most.
        where: Columns of the manifest and the values that its rows must have.

    Raises:
        DataError: The manifest or a picture cannot be read, or no row of it has one of the classes.
    """
    sequence, found = model.study.sequence, dict[str, list[NDArray[np.float32]]]()
    assert isinstance(sequence, Rows)  # noqa: S101  no other is generated
    for row in read_manifest(manifest, where).rows:
        index = model.study.study.class_index(row.label)
        if index is None:
            continue
        own = found.setdefault(model.study.study.classes[index], [])
        if len(own) < count:
            read = named_case(place_of(manifest.parent, row.path), row.path, model.study)
            own.append(from_steps(read.steps, sequence).numpy())
    if not found:
        raise NoSuchSite(f"no row of {manifest} has a label of {', '.join(model.study.study.classes)}")
    return {name: np.stack(own) for name, own in found.items()}


def sheet_of(drawn: Drawn, true: Drawn | None = None) -> NDArray[np.uint8]:
    """(H, W, 3) pictures under the name of their class, and below them true ones of the same class.

    Args:
        drawn: By class.
        true: By class; None for none.
    """
    panels = []
    for name, own in drawn.items():
        panels.append((name if true is None else f"{name}: drawn", _row(own)))
        if true is not None and name in true:
            panels.append((f"{name}: true", _row(true[name])))
    return panelled(panels, below=True)


def _row(pictures: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W, 3) pictures (N, h, w) beside each other, each at least ``LEAST`` pixels wide."""
    factor = max(1, -(-LEAST // pictures.shape[2]))
    shown = np.round(255 * pictures).astype(np.uint8).repeat(factor, axis=1).repeat(factor, axis=2)
    return sheet([np.stack([picture] * 3, axis=2) for picture in shown], len(shown))
