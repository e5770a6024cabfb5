"""Occlusion: how much of what a model says is lost when a part of the case is covered.

Zeiler and Fergus 2014. What covers is the nothing of :mod:`client.explaining.path`. Parts are squares of the
picture, an eighth of its side (of a stack or a clip at all steps at once), or the variables of a record; and
single steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from client.explaining.evidence import Evidence
from client.explaining.gradients import at_once
from client.explaining.path import path_of
from common.models import SequenceModel
from common.sequences import from_steps, to_steps
from common.study import Patches, PictureSequence, Rows, Steps
from common.study.sequence import Sequence

SQUARES = 8
"""Squares along a side of the picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Occlusion:
    """Log-odds that are lost, in nats; below 0 where covering makes it likelier.

    Attributes:
        parts: (squares, squares) of a picture; (V,) for the variables of a record.
        steps: (T,) for each step; None where a step is but a row or a square of the picture.
    """

    parts: torch.Tensor
    steps: torch.Tensor | None


@torch.no_grad()
def occluded(
    network: SequenceModel, steps: torch.Tensor, evidence: Evidence, sequence: Sequence
) -> Occlusion:
    """What is lost with each part of a case.

    Args:
        network: In eval mode.
        steps: (T, F) on its device.
        evidence: What is explained.
        sequence: The study's ``[sequence]``.
    """
    if isinstance(sequence, Steps):
        covers = list(_variables(steps, sequence))
        parts = _lost(network, steps, evidence, covers)
    else:
        covers = list(_squares(steps, sequence))
        side = round(len(covers) ** 0.5)
        parts = _lost(network, steps, evidence, covers).reshape(side, side)
    if isinstance(sequence, Rows | Patches):
        return Occlusion(parts, None)
    each = []
    for step in range(len(steps)):
        cover = torch.zeros_like(steps, dtype=torch.bool)
        cover[step] = True
        each.append(cover)
    return Occlusion(parts, _lost(network, steps, evidence, each))


def _lost(
    network: SequenceModel, steps: torch.Tensor, evidence: Evidence, covers: list[torch.Tensor]
) -> torch.Tensor:
    """(N,) log-odds lost under each of N covers (T, F) bool."""
    path = path_of(network, steps)
    whole = path.evidence(path.end[None], evidence)
    chunk, found = at_once(network, steps), []
    for first in range(0, len(covers), chunk):
        covered = path.without(torch.stack(covers[first : first + chunk]))
        found.append(whole - path.evidence(covered, evidence))
    return torch.cat(found).cpu()


def _squares(steps: torch.Tensor, sequence: PictureSequence) -> Iterator[torch.Tensor]:
    """(T, F) bool for each square of the picture, line by line."""
    size = sequence.size
    side = -(-size // SQUARES)
    for top in range(0, size, side):
        for left in range(0, size, side):
            picture = torch.zeros(size, size, dtype=torch.bool, device=steps.device)
            picture[top : top + side, left : left + side] = True
            if isinstance(sequence, Rows | Patches):
                yield to_steps(picture, sequence)
            else:
                yield picture.reshape(1, -1).expand(len(steps), -1)


def _variables(steps: torch.Tensor, sequence: Steps) -> Iterator[torch.Tensor]:
    """(T, F) bool for each column: its values, flags and gaps."""
    count = len(sequence.columns)
    for variable in range(count):
        cover = torch.zeros_like(steps, dtype=torch.bool)
        cover[:, variable::count] = True
        yield cover


def field_of(steps: torch.Tensor, sequence: PictureSequence) -> torch.Tensor:
    """(T', size, size): the pictures that steps (T, F) are of; T' is 1 for rows and patches."""
    if isinstance(sequence, Rows | Patches):
        return from_steps(steps, sequence).unsqueeze(0)
    return steps.reshape(len(steps), sequence.size, sequence.size)
