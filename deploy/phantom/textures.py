"""Textures with a known density: what a model that generates pictures has to come near to.

Each row is normal around what the row above leads to expect, and its pixels are independent given that:

    x_0 ~ N(m, s^2),    x_t | x_{t-1} ~ N(m + a (x_{t-1} - m), s^2 (1 - a^2))

so every pixel has the marginal N(m, s^2), and a model that looks at single pixels loses ``-log(1 - a^2) / 2``
nats a pixel against one that remembers the row above.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MEMORY = 0.9
DEVIATION = 0.06
"""Means lie in 0.35 to 0.65, so a value is beyond [0, 1] less than once in 10^8."""


@dataclass(frozen=True, slots=True, eq=False)
class Texture:
    """One density.

    Attributes:
        mean: (W,) brightness in the middle of each column, m.
        deviation: s.
        memory: a, of the row above.
    """

    mean: NDArray[np.float64]
    deviation: float = DEVIATION
    memory: float = MEMORY

    def draw(self, rows: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """(rows, W) float32 in [0, 1], a picture of this density."""
        noise = self.deviation * rng.standard_normal((rows, len(self.mean)))
        picture = np.empty_like(noise)
        picture[0] = noise[0]
        for row in range(1, rows):
            picture[row] = self.memory * picture[row - 1] + np.sqrt(1 - self.memory**2) * noise[row]
        return np.clip(self.mean + picture, 0, 1).astype(np.float32)

    def log_density(self, picture: NDArray[np.float32]) -> float:
        """Natural logarithm of the density at a picture (H, W), per brightness of every pixel."""
        off = np.asarray(picture, np.float64) - self.mean
        first = _log_normal(off[0], self.deviation)
        later = _log_normal(off[1:] - self.memory * off[:-1], self.deviation * np.sqrt(1 - self.memory**2))
        return float(first.sum() + later.sum())

    def nats_per_pixel(self, rows: int) -> float:
        """What a model that knows the density would lose on average, in nats a pixel."""
        normal = 0.5 * np.log(2 * np.pi * np.e * self.deviation**2)
        return float(normal + 0.5 * np.log(1 - self.memory**2) * (rows - 1) / rows)


def texture(kind: int, site: int, width: int) -> Texture:
    """The density of a class's pictures at a site, whose scanner makes them a little brighter or darker.

    Args:
        kind: Number of the class.
        site: Number of the site.
        width: Of the pictures in pixels.
    """
    columns = 2 * np.pi * np.arange(width) / width
    return Texture(0.5 + 0.02 * (site % 3 - 1) + 0.12 * np.sin((kind + 1) * columns))


def _log_normal(off: NDArray[np.float64], deviation: float) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = -0.5 * (off / deviation) ** 2 - np.log(deviation * np.sqrt(2 * np.pi))
    return scaled
