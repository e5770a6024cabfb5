"""Overlays: what speaks for a class in red, what speaks against it in blue, over the grey picture."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray

from common.page.markup import Markup, tag

FOR, AGAINST = (220.0, 40.0, 40.0), (40.0, 90.0, 220.0)
STRONGEST = 0.75
"""How much of the picture the strongest colour covers."""

LEAST_EDGE = 256
GAP = 2


def grey_of(field: torch.Tensor) -> NDArray[np.uint8]:
    """(H, W) uint8 of a standardised picture, from its 1st to its 99th percentile."""
    values = field.numpy().astype(np.float64)
    low, high = np.percentile(values, (1, 99))
    shown: NDArray[np.uint8] = np.round(255 * np.clip((values - low) / max(high - low, 1e-9), 0, 1)).astype(
        np.uint8
    )
    return shown


def overlaid(grey: NDArray[np.uint8], values: torch.Tensor, strongest: float) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: a picture under its attributions.

    Args:
        grey: (H, W).
        values: (h, w), laid over the whole picture.
        strongest: Absolute value that has the full colour.
    """
    wide = torch.nn.functional.interpolate(values[None, None].float(), grey.shape, mode="nearest")[
        0, 0
    ].numpy()
    share = np.clip(np.abs(wide) / max(strongest, 1e-12), 0, 1)[..., None] * STRONGEST
    colour = np.where(wide[..., None] > 0, FOR, AGAINST)
    mixed: NDArray[np.uint8] = np.round((1 - share) * grey[..., None] + share * colour).astype(np.uint8)
    return mixed


def strongest_of(values: torch.Tensor) -> float:
    """The 99.5th percentile of absolute values: a few single pixels must not make all others pale."""
    return float(np.percentile(values.abs().numpy(), 99.5))


def smoothed(values: torch.Tensor, side: int) -> torch.Tensor:
    """(T, H, W) as means over ``side`` x ``side`` pixels around each: single pixels cannot be read by eye."""
    kernel = torch.ones(1, 1, side, side) / side**2
    edge = side // 2
    padded = torch.nn.functional.pad(values[:, None], (edge, side - 1 - edge, edge, side - 1 - edge))
    return torch.nn.functional.conv2d(padded, kernel)[:, 0]


def sheet(pictures: list[NDArray[np.uint8]], across: int = 8) -> NDArray[np.uint8]:
    """Pictures of one size (H, W, 3) side by side, so many in a row, on black."""
    height, width, _ = pictures[0].shape
    rows, across = -(-len(pictures) // across), min(across, len(pictures))
    whole = np.zeros((rows * (height + GAP) - GAP, across * (width + GAP) - GAP, 3), np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // across * (height + GAP), index % across * (width + GAP)
        whole[top : top + height, left : left + width] = picture
    return whole


def enlarged(pixels: NDArray[np.uint8], least: int = LEAST_EDGE) -> NDArray[np.uint8]:
    """(H', W', ...) a picture (H, W, ...) made larger by the least whole factor that a reader can see.

    Args:
        pixels: The picture.
        least: Pixels of its longer side, at least.
    """
    factor = max(1, -(-least // max(pixels.shape[:2])))
    return np.repeat(np.repeat(pixels, factor, axis=0), factor, axis=1)


def png_of(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of (H, W) or (H, W, 3); small ones are made larger by whole factors, pixel by pixel."""
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(enlarged(pixels))).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def image_of(pixels: NDArray[np.uint8], alt: str) -> Markup:
    """A picture inside a page."""
    source = f"data:image/png;base64,{b64encode(png_of(pixels)).decode('ascii')}"
    return tag("img", src=source, alt=alt, width=pixels.shape[1], height=pixels.shape[0])
