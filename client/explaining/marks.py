"""What is explained, marked in the pictures: the edge of the pixels, or the frame of the box."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from client.explaining.panels import Colour
from client.explaining.pictures import enlarged
from client.explaining.question import Place

MARK: Colour = (255, 214, 0)
"""Neither red nor blue, which speak for and against."""


def marked(pixels: NDArray[np.uint8], place: Place | None, picture: int, least: int) -> NDArray[np.uint8]:
    """(H', W', 3) a picture (H, W, 3), large enough to be looked at, with the mark that it has.

    Args:
        pixels: The picture.
        place: What is explained; None if that is the whole case.
        picture: Which of the case's pictures it is, from 0 on.
        least: Pixels of its longer side, at least.
    """
    large = enlarged(pixels, least)
    if place is None:
        return large
    if place.region is not None:
        return _outlined(large, place.region[picture])
    return _framed(large, place) if picture == place.picture else large


def _outlined(pixels: NDArray[np.uint8], region: torch.Tensor) -> NDArray[np.uint8]:
    """The picture with a line just outside of a region (H, W), so that what is explained stays visible."""
    factor = pixels.shape[0] // region.shape[0]
    inside = np.pad(region.numpy().astype(bool).repeat(factor, axis=0).repeat(factor, axis=1), 1)
    near = inside[1:-1, 1:-1].copy()
    for down in (0, 1, 2):
        for right in (0, 1, 2):
            near |= inside[down : down + pixels.shape[0], right : right + pixels.shape[1]]
    drawn = pixels.copy()
    drawn[near & ~inside[1:-1, 1:-1]] = MARK
    return drawn


def _framed(pixels: NDArray[np.uint8], place: Place) -> NDArray[np.uint8]:
    """The picture with the box."""
    assert place.box is not None  # noqa: S101  a place is pixels or a box
    image, (height, width) = Image.fromarray(pixels), pixels.shape[:2]
    top, left, bottom, right = place.box.fractions
    x, y = left * width, top * height
    corner = (max(x, right * width - 1), max(y, bottom * height - 1))
    ImageDraw.Draw(image).rectangle(((x, y), corner), outline=MARK, width=2 if width >= 200 else 1)
    return np.asarray(image)
