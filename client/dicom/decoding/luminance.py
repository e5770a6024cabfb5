"""Colours to brightness."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_RED, _GREEN, _BLUE = 19595, 38470, 7471
"""0.299, 0.587 and 0.114 (ITU-R BT.601) in 65536ths, the sum being 1; Pillow has the same."""


def luminance(colours: NDArray[Any], bits: int) -> NDArray[Any]:
    """0.299 R + 0.587 G + 0.114 B, rounded.

    Args:
        colours: (..., 3) unsigned, red, green and blue.
        bits: Of a colour. What has more than 16 loses the lowest.

    Returns:
        (...) uint8 for up to 8 bits, else uint16.
    """
    narrowed = colours >> max(0, bits - 16)
    red, green, blue = (narrowed[..., channel].astype(np.uint32) for channel in range(3))
    # The greatest sum, 65535 * 65536 + 32768, still fits.
    shades: NDArray[Any] = (red * _RED + green * _GREEN + blue * _BLUE + 0x8000) >> 16
    return shades.astype(np.uint8 if bits <= 8 else np.uint16)


def luminance_of_frames(values: NDArray[Any], photometric: str, bits: int) -> NDArray[Any]:
    """(N, H, W) luminance of (N, H, W, 3) RGB or YBR_FULL, frame by frame to spare memory.

    YBR_FULL has it as its first component already (PS3.3 C.7.6.3.1.2), so nothing is converted twice.
    """
    shades = np.empty(values.shape[:3], np.uint8 if bits <= 8 else np.uint16)
    for index, frame in enumerate(values):
        if photometric == "YBR_FULL":
            shades[index] = frame[..., 0] >> max(0, bits - 16)
        else:
            shades[index] = luminance(frame, bits)
    return shades
