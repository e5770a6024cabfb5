"""What each site's X-ray machine does to a picture, and how it writes it down.

For every scanner: stored value -> rescale -> window gives the displayed brightness back, except that a
scanner without a window leaves it to the viewer to stretch the picture from its darkest to its brightest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIELD_MM = 358.4
"""Height of the exposed field."""


@dataclass(frozen=True, slots=True)
class Scanner:
    """One X-ray machine.

    Attributes:
        modality: DX (digital radiography) or CR (computed radiography). A DX object may not rescale, be
            signed or lack a window (DICOM PS3.3 C.8.11.3); a CR object may.
        rows: Height of its picture in pixels, `columns` its width.
        bits_stored: 8 to 16; 8 are allocated for 8, 16 for more.
        signed: Whether stored values are two's complement (Pixel Representation 1).
        inverted: Whether the least value is shown white (MONOCHROME1).
        used: Part of the stored range between the shown black and white.
        exposure: Exponent of the brightness: below 1 brighter, above 1 darker.
        noise: Standard deviation of the noise, in parts of the brightness range.
    """

    manufacturer: str
    model: str
    modality: str
    rows: int
    columns: int
    bits_stored: int
    signed: bool = False
    inverted: bool = False
    has_window: bool = True
    rescale_slope: float = 1.0
    rescale_intercept: float = 0.0
    used: tuple[float, float] = (0.05, 0.95)
    exposure: float = 1.0
    noise: float = 0.02
    implicit_vr: bool = False

    @property
    def spacing_mm(self) -> float:
        """Distance of pixel centres, the same along rows and columns."""
        return FIELD_MM / self.rows

    @property
    def stored_range(self) -> tuple[int, int]:
        """The stored values at the two ends of the window, smaller first."""
        lowest = -(2 ** (self.bits_stored - 1)) if self.signed else 0
        least, greatest = (round(part * (2**self.bits_stored - 1)) for part in self.used)
        return lowest + least, lowest + greatest

    @property
    def window(self) -> tuple[float, float] | None:
        """Centre and width of the LINEAR window that shows `stored_range` (PS3.3 C.11.2.1.2)."""
        if not self.has_window:
            return None
        least, greatest = (self.rescale_slope * value + self.rescale_intercept for value in self.stored_range)
        return (least + greatest) / 2 + 0.5, greatest - least + 1

    def expose(self, brightness: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """The picture (H, W) in [0, 1] as this machine shows it."""
        shown = np.clip(brightness, 0, 1) ** self.exposure
        shown += self.noise * rng.standard_normal(shown.shape, dtype=np.float32)
        return np.clip(shown, 0, 1, out=shown)

    def digitise(self, shown: NDArray[np.float32]) -> NDArray[Any]:
        """Stored values (H, W) of a picture in [0, 1]: u1, u2 or i2."""
        least, greatest = self.stored_range
        level = 1 - shown if self.inverted else shown
        values = np.rint(least + level.astype(np.float64) * (greatest - least))
        return values.astype("u1" if self.bits_stored == 8 else "i2" if self.signed else "u2")


CATALOGUE = (
    Scanner("PHANTOM Roentgen Works", "Larkspur DR", "DX", 128, 128, 12),
    Scanner(
        "PHANTOM Plate Readers", "Foxglove CR", "CR", 160, 144, 10, inverted=True, exposure=0.85, noise=0.03
    ),
    Scanner(
        *("PHANTOM Imaging Guild", "Heather 16", "CR", 192, 192, 16),
        signed=True,
        rescale_slope=0.5,
        rescale_intercept=1024.0,
        used=(0.2, 0.7),
        exposure=1.2,
        noise=0.015,
        implicit_vr=True,
    ),
    Scanner(
        *("PHANTOM Country Films", "Clover 8", "CR", 128, 112, 8),
        has_window=False,
        used=(0.0, 1.0),
        exposure=1.1,
        noise=0.035,
    ),
    Scanner("PHANTOM Roentgen Works", "Larkspur DR Plus", "DX", 176, 176, 14, inverted=True, noise=0.02),
    Scanner(
        *("PHANTOM Plate Readers", "Foxglove CR II", "CR", 144, 160, 12),
        signed=True,
        inverted=True,
        rescale_slope=2.0,
        rescale_intercept=-100.0,
        exposure=0.9,
        noise=0.025,
    ),
)
"""The machines of the first six sites."""


def scanner_of(site: int, rng: np.random.Generator) -> Scanner:
    """The machine of the site with this number: out of the catalogue, or drawn where that has ended."""
    if site < len(CATALOGUE):
        return CATALOGUE[site]
    bits = int(rng.choice([8, 10, 12, 14, 16]))
    return Scanner(
        manufacturer="PHANTOM Assorted Machines",
        model=f"Meadow {site + 1}",
        modality="CR",
        rows=int(rng.choice([128, 144, 160, 176, 192])),
        columns=int(rng.choice([128, 144, 160, 176, 192])),
        bits_stored=bits,
        signed=bits > 8 and bool(rng.integers(2)),
        inverted=bool(rng.integers(2)),
        has_window=bool(rng.uniform() < 0.75),
        rescale_slope=float(rng.choice([0.25, 0.5, 1.0, 2.0])),
        rescale_intercept=float(rng.choice([-1024.0, 0.0, 100.0])),
        exposure=float(rng.uniform(0.85, 1.2)),
        noise=float(rng.uniform(0.015, 0.035)),
        implicit_vr=bool(rng.integers(2)),
    )
