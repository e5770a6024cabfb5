"""Bodies with lesions of several kinds, whose every pixel and box is known: pictures, clips and stacks.

Places and sizes are in half heights of the picture, as in :mod:`deploy.phantom.anatomy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from deploy.phantom.anatomy import Ellipse, Image, grid

GROUND, BODY = 0.08, 0.45
"""Brightness around the body and in it."""

CONTRASTS = (0.4, -0.28, 0.22)
"""Brightness of a kind of lesion against the body's, by turns."""

SQUASHES = (1.0, 1.0, 1.5, 1.9)
"""Width against height of a kind of lesion, by turns."""


@dataclass(frozen=True, slots=True)
class Lesion:
    """A lesion that goes through some of a case's pictures.

    Attributes:
        kind: Its number, from 0: a brightness and a form.
        shape: In the picture where it is largest.
        middle: Which picture that is.
        reach: Pictures from there to where it ends.
    """

    kind: int
    shape: Ellipse
    middle: float
    reach: float

    def at(self, picture: int) -> Ellipse | None:
        """Its outline in a picture, None where it is not seen."""
        part = 1 - ((picture - self.middle) / self.reach) ** 2
        if part <= 0.05:
            return None
        width, height = (np.sqrt(part) * size for size in (self.shape.half_width, self.shape.half_height))
        return replace(self.shape, half_width=float(width), half_height=float(height))


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A case and the truth about it.

    Attributes:
        pictures: (T, H, W) float32 in about [0, 1], before any scanner.
        kinds: (T, H, W) uint8: 1 + the kind of lesion at each pixel, 0 where there is none.
        boxes: For each picture, kind, top, left, bottom and right in pixels of each lesion seen in it.
    """

    pictures: Image
    kinds: NDArray[np.uint8]
    boxes: tuple[tuple[tuple[int, int, int, int, int], ...], ...]

    def only(self, picture: int) -> Drawn:
        """One picture of it."""
        place = slice(picture, picture + 1)
        return Drawn(self.pictures[place], self.kinds[place], self.boxes[place])


def draw_lesion(rng: np.random.Generator, kind: int, pictures: int, size: float | None = None) -> Lesion:
    """A lesion of a kind somewhere in the body.

    Args:
        rng: Its place, and its size where none is asked for.
        kind: Its number, from 0.
        pictures: How many pictures the case has.
        size: Its mean radius.
    """
    radius = rng.uniform(0.16, 0.3) if size is None else size
    squash = np.sqrt(SQUASHES[kind % len(SQUASHES)] * rng.uniform(0.9, 1.1))
    angle, distance = rng.uniform(0, 2 * np.pi), 0.45 * np.sqrt(rng.uniform())
    shape = Ellipse(
        float(distance * np.cos(angle)),
        float(distance * np.sin(angle)),
        float(radius * squash),
        float(radius / squash),
        edge=0.12,
    )
    if pictures == 1:
        return Lesion(kind, shape, 0.0, 1.0)
    return Lesion(kind, shape, float(rng.uniform(0, pictures - 1)), float(pictures * rng.uniform(0.4, 0.9)))


def draw_case(rng: np.random.Generator, shape: tuple[int, int, int], lesions: Sequence[Lesion]) -> Drawn:
    """A body with these lesions, of which the later lie over the earlier.

    Args:
        rng: The body's form and texture.
        shape: Pictures, height and width.
        lesions: What is in it.
    """
    count, height, width = shape
    body = Ellipse(0.0, 0.0, 0.85 * rng.uniform(0.9, 1.1), 0.9 * rng.uniform(0.9, 1.05), edge=0.05)
    waves = [(rng.normal(0, 6), rng.normal(0, 6), rng.uniform(0, 2 * np.pi)) for _ in range(4)]
    x, y = grid((height, width), np.zeros(2), 0.0)
    texture = sum(0.02 * np.sin(along * x + across * y + phase) for along, across, phase in waves)
    inside = body.cover(x, y)
    healthy = GROUND + inside * (BODY - GROUND + texture)
    pictures = np.repeat(healthy[None], count, axis=0)
    kinds = np.zeros(shape, np.uint8)
    boxes: list[list[tuple[int, int, int, int, int]]] = [[] for _ in range(count)]
    for lesion in lesions:
        for picture in range(count):
            outline = lesion.at(picture)
            if outline is None:
                continue
            cover = outline.cover(x, y)
            shown = healthy + CONTRASTS[lesion.kind % len(CONTRASTS)]
            pictures[picture] += cover * (shown - pictures[picture])
            covered = cover > 0.5
            kinds[picture][covered] = lesion.kind + 1
            if covered.any():
                boxes[picture].append((lesion.kind, *_around(covered)))
    return Drawn(pictures.astype(np.float32), kinds, tuple(map(tuple, boxes)))


def _around(covered: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(covered)
    return int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1
