"""Pictures that a generator draws, on one sheet: a row for each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from client.explaining.pictures import sheet
from client.predicting.model import TrainedModel, learns
from common.errors import TaskNotServed
from common.models.generator import RowGenerator
from common.models.sampling import sample

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


def sheet_of(drawn: Drawn) -> NDArray[np.uint8]:
    """(H, W, 3) all pictures as they are, a row for each class."""
    shown = [np.round(255 * picture).astype(np.uint8) for own in drawn.values() for picture in own]
    across = len(next(iter(drawn.values())))
    return sheet([np.stack([picture] * 3, axis=2) for picture in shown], across)
