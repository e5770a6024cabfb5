"""A chest that varies from patient to patient, drawn as brightness before any scanner has touched it.

Places and sizes are in half heights of the picture: the centre is (0, 0), the upper edge y = -1, the lower
y = 1, and x grows to the right of the picture, which is the patient's left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
"""(H, W) float32."""

AIR, TISSUE, AERATED = 0.06, 0.62, 0.40
"""Brightness of the room's air and of soft tissue, and how much darker a lung is than the latter."""


@dataclass(frozen=True, slots=True)
class Ellipse:
    """An ellipse with a soft edge."""

    x: float
    y: float
    half_width: float
    half_height: float
    tilt: float = 0.0
    edge: float = 0.08

    def cover(self, x: Image | np.float32, y: Image | np.float32) -> Image:
        """1 well inside, 0 well outside, and 0.5 on the outline; `edge` is a part of the radius."""
        cosine, sine = np.cos(self.tilt), np.sin(self.tilt)
        u = ((x - self.x) * cosine + (y - self.y) * sine) / self.half_width
        v = ((y - self.y) * cosine - (x - self.x) * sine) / self.half_height
        return _step((1 - np.sqrt(u * u + v * v)) / self.edge)


@dataclass(frozen=True, slots=True)
class Lesion:
    """A roundish opacity inside a lung: a small dense nodule or a wide faint consolidation."""

    shape: Ellipse
    contrast: float


@dataclass(frozen=True, slots=True)
class Chest:
    """One patient's chest."""

    lungs: tuple[Ellipse, Ellipse]
    heart: Ellipse
    hila: tuple[Ellipse, Ellipse]
    torso: Ellipse
    spine_half_width: float
    diaphragm: tuple[float, float]
    rib_spacing: float
    rib_phase: float
    rib_contrast: float
    fat: float
    lesion: Lesion | None


def draw_chest(rng: np.random.Generator, *, diseased: bool) -> Chest:
    """A patient of the size, build and health that the generator says."""
    size, breadth = rng.normal(1.0, 0.05), rng.normal(1.0, 0.05)
    middle = rng.normal(0.0, 0.03)
    lungs = _draw_lungs(rng, middle, size, breadth)
    healthy = Chest(
        lungs=lungs,
        heart=Ellipse(middle + 0.13, 0.28, 0.27 * rng.normal(1, 0.1), 0.30 * size, 0.5),
        hila=_draw_hila(rng, lungs),
        torso=Ellipse(middle, 0.25, 0.93 * breadth, 1.35, edge=0.05),
        spine_half_width=0.08 * breadth,
        diaphragm=(0.48 + rng.normal(0, 0.05), 0.54 + rng.normal(0, 0.05)),
        rib_spacing=rng.uniform(0.17, 0.21),
        rib_phase=rng.uniform(0, 1),
        rib_contrast=rng.uniform(0.04, 0.09),
        fat=rng.normal(0, 0.03),
        lesion=None,
    )
    return replace(healthy, lesion=_draw_lesion(rng, healthy)) if diseased else healthy


def render(chest: Chest, shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """The chest's brightness, (H, W) float32 in about 0.05..1, in a pose and with vessels of its own.

    Args:
        chest: The patient.
        shape: Height and width in pixels.
        rng: How the patient stands at this exposure.
    """
    x, y = grid(shape, shift=rng.normal(0, 0.02, 2), turn=rng.normal(0, 0.02))
    heart = chest.heart.cover(x, y)
    air = (_lung_cover(chest, 0, x, y) + _lung_cover(chest, 1, x, y)) * (1 - 0.85 * heart)
    darkening = AERATED * (1 - _lesion_cover(chest, x, y)) - _ribs(chest, x, y) - _vessels(chest, x, y, rng)
    tissue = TISSUE + chest.fat + 0.06 * y + 0.08 * heart + _spine(chest, x, y)
    body = tissue - air * darkening
    brightness: Image = (AIR + chest.torso.cover(x, y) * (body - AIR)).astype(np.float32)
    return brightness


def _draw_lungs(
    rng: np.random.Generator, middle: float, size: float, breadth: float
) -> tuple[Ellipse, Ellipse]:
    """The patient's right lung (left in the picture) and left lung."""

    def lung(side: int) -> Ellipse:
        return Ellipse(
            x=middle + side * 0.42 * breadth,
            y=-0.04 + rng.normal(0, 0.03),
            half_width=0.30 * breadth * rng.normal(1, 0.05),
            half_height=0.74 * size * rng.normal(1, 0.03),
            tilt=side * -0.10,
        )

    return lung(-1), lung(1)


def _draw_hila(rng: np.random.Generator, lungs: tuple[Ellipse, Ellipse]) -> tuple[Ellipse, Ellipse]:
    """The shadows where vessels enter the lungs: round and bright in everybody, so no sign of disease."""

    def hilum(lung: Ellipse, side: int) -> Ellipse:
        radius = rng.uniform(0.06, 0.10)
        x, y = lung.x - side * 0.20, rng.normal(-0.02, 0.05)
        return Ellipse(x, y, radius, radius * rng.uniform(1.0, 1.6), edge=0.5)

    return hilum(lungs[0], -1), hilum(lungs[1], 1)


def _draw_lesion(rng: np.random.Generator, chest: Chest) -> Lesion:
    """A nodule or a consolidation in a lung field."""
    x, y = _draw_free_place(rng, chest)
    nodule = rng.uniform() < 0.6
    radius = rng.uniform(0.10, 0.17) if nodule else rng.uniform(0.18, 0.27)
    squash = rng.uniform(0.75, 1.33)
    shape = Ellipse(x, y, radius * squash, radius / squash, rng.uniform(0, np.pi), 0.12 if nodule else 0.25)
    return Lesion(shape, rng.uniform(0.7, 1.0) if nodule else rng.uniform(0.45, 0.8))


def _draw_free_place(rng: np.random.Generator, chest: Chest) -> tuple[float, float]:
    """A place x, y in a lung field where a lesion shows: not under the diaphragm, not behind the heart."""
    while True:
        lung = chest.lungs[rng.integers(2)]
        angle, distance = rng.uniform(0, 2 * np.pi), 0.6 * np.sqrt(rng.uniform())
        x = lung.x + distance * lung.half_width * np.cos(angle)
        y = lung.y - 0.12 + 0.8 * distance * lung.half_height * np.sin(angle)
        if chest.heart.cover(np.float32(x), np.float32(y)) < 0.05:
            return float(x), float(y)


def grid(shape: tuple[int, int], shift: NDArray[np.float64], turn: float) -> tuple[Image, Image]:
    """Places x and y of every pixel's centre for a patient who stands shifted and turned (radians)."""
    height, width = shape
    rows = (2 * np.arange(height) + 1 - height) / height
    columns = (2 * np.arange(width) + 1 - width) / height
    y, x = np.meshgrid(rows - shift[0], columns - shift[1], indexing="ij")
    return (x + turn * y).astype(np.float32), (y - turn * x).astype(np.float32)


def _step(distance: Image) -> Image:
    """A smooth step from 0 to 1 around distance 0."""
    step: Image = (0.5 + 0.5 * np.tanh(distance)).astype(np.float32)
    return step


def _lung_cover(chest: Chest, side: int, x: Image, y: Image) -> Image:
    """One lung down to the dome of the diaphragm."""
    lung = chest.lungs[side]
    dome = chest.diaphragm[side] + 0.5 * (x - lung.x) ** 2 / lung.half_width
    return lung.cover(x, y) * _step((dome - y) / 0.02)


def _spine(chest: Chest, x: Image, y: Image) -> Image:
    """The spine as a bright band of vertebrae."""
    band = np.exp(-(((x - chest.torso.x) / chest.spine_half_width) ** 4))
    spine: Image = 0.13 * band * (1 + 0.2 * np.cos(40 * y))
    return spine


def _lesion_cover(chest: Chest, x: Image, y: Image) -> Image | float:
    """How much of the air the lesion replaces at each pixel."""
    if chest.lesion is None:
        return 0.0
    return chest.lesion.contrast * chest.lesion.shape.cover(x, y)


def _ribs(chest: Chest, x: Image, y: Image) -> Image:
    """Ribs as bright arcs that fall towards the sides."""
    aside = np.abs(x - chest.torso.x)
    turns = (y - 0.55 * aside * aside) / chest.rib_spacing + chest.rib_phase
    ribs: Image = chest.rib_contrast * np.maximum(0, np.cos(2 * np.pi * turns))
    return ribs


def _vessels(chest: Chest, x: Image, y: Image, rng: np.random.Generator) -> Image:
    """The hila, and a texture of soft waves that stands for the finer vessels."""
    texture = np.zeros_like(x)
    for _ in range(6):
        along, across, phase = rng.normal(0, 9), rng.normal(0, 9), rng.uniform(0, 2 * np.pi)
        texture += 0.012 * np.sin(along * x + across * y + phase)
    shadows = [0.16 * hilum.cover(x, y) for hilum in chest.hila]
    vessels: Image = (shadows[0] + shadows[1] + texture).astype(np.float32)
    return vessels
