"""A grey picture as displayed, and what every format has to hold to become one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import ImageUnreadable

MAX_PIXELS = 2**28
"""Largest picture, in pixels. Pillow's own limit (about 2**27.4) is lower and stays in force."""

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue (ITU-R BT.601), as Pillow's mode L uses them."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One grey picture as displayed.

    Attributes:
        pixels: (H, W) float32 in [0, 1], 0 = black.
        modality: Modality (0008,0060) CS, or None where the format knows none.
    """

    pixels: NDArray[np.float32]
    modality: str | None


@dataclass(frozen=True, slots=True)
class Stack:
    """The pictures of a clip or a stack as displayed, in their order.

    Attributes:
        pixels: (T, H, W) float32 in [0, 1], 0 = black.
        modality: Modality (0008,0060) CS, or None where the format knows none.
    """

    pixels: NDArray[np.float32]
    modality: str | None


def resize(pixels: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """The picture at another size: bilinear, averaged over the area of each new pixel when reducing.

    Args:
        pixels: (H, W) float32.
        size: New height and width.

    Returns:
        (height, width) float32.
    """
    from PIL import Image

    height, width = size
    image = Image.fromarray(np.ascontiguousarray(pixels, dtype=np.float32))
    return np.array(image.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)


def clip(brightness: NDArray[Any]) -> NDArray[np.float32]:
    """Brightness as float32 in [0, 1]; what is not a number becomes black."""
    clipped: NDArray[np.float32] = np.clip(np.nan_to_num(brightness, nan=0.0), 0, 1).astype(np.float32)
    return clipped


def check_size(path: Path, pixels: int, frames: int = 1) -> None:
    """Refuses what is more than one picture, or too large a one.

    Raises:
        ImageUnreadable: Several frames, no pixel at all, or more than ``MAX_PIXELS``.
    """
    if frames != 1:
        raise ImageUnreadable(f"{path} holds {frames} frames; one file with one picture is expected")
    if not 0 < pixels <= MAX_PIXELS:
        raise ImageUnreadable(f"{path} has {pixels} pixels; 1 to {MAX_PIXELS} are read")
