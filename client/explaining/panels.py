"""Pictures side by side, each under a word or two, above a legend: what a person looks at."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Entry = tuple[Colour, str]
"""A colour, and what it means."""

LINE = 22
"""Height in pixels of a line of words."""
LETTERS = 15
GAP = 6
GROUND: Colour = (0, 0, 0)
INK: Colour = (235, 235, 235)


def panelled(
    panels: Sequence[tuple[str, NDArray[np.uint8]]], legend: Sequence[Entry] = (), *, below: bool = False
) -> NDArray[np.uint8]:
    """(H, W, 3) pictures with their titles, and a legend below them.

    Args:
        panels: Title and picture (h, w, 3).
        legend: A line each.
        below: One picture below the other, not beside.
    """
    titled = [
        np.concatenate([_line(words, _width(pixels, words)), _set(pixels, words)]) for words, pixels in panels
    ]
    whole = _joined(titled, axis=0 if below else 1)
    width = max(whole.shape[1], *(_reach(words) + LINE for _, words in legend), 0)
    rows = [
        _padded(whole, (whole.shape[0], width)),
        *(_line(words, width, colour) for colour, words in legend),
    ]
    return np.concatenate(rows)


@cache
def font(size: int = LETTERS) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The letters that Pillow carries with it."""
    return ImageFont.load_default(size)


def plain(name: str) -> str:
    """The name in letters that every font has."""
    return name.encode("latin-1", "replace").decode("latin-1")


def _line(words: str, width: int, colour: Colour | None = None) -> NDArray[np.uint8]:
    """(LINE, width, 3) words, behind a square of their colour where they have one."""
    strip = Image.new("RGB", (width, LINE), GROUND)
    pencil, start = ImageDraw.Draw(strip), 2
    if colour is not None:
        pencil.rectangle((3, 5, 15, 17), fill=colour)
        start = LINE
    pencil.text((start, LINE // 2), plain(words), fill=INK, font=font(), anchor="lm")
    return np.asarray(strip)


def _reach(words: str) -> int:
    """How wide words are, in pixels."""
    return int(font().getlength(plain(words))) + 4


def _width(pixels: NDArray[np.uint8], words: str) -> int:
    return max(int(pixels.shape[1]), _reach(words))


def _set(pixels: NDArray[np.uint8], words: str) -> NDArray[np.uint8]:
    return _padded(pixels, (pixels.shape[0], _width(pixels, words)))


def _padded(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture at the upper left of a ground of this height and width."""
    ground = np.full((*size, 3), GROUND, np.uint8)
    ground[: pixels.shape[0], : pixels.shape[1]] = pixels
    return ground


def _joined(pictures: Sequence[NDArray[np.uint8]], axis: int) -> NDArray[np.uint8]:
    """Pictures along an axis, with gaps between them."""
    other = max(picture.shape[1 - axis] for picture in pictures)
    found: list[NDArray[np.uint8]] = []
    for place, picture in enumerate(pictures):
        along = picture.shape[axis] + (GAP if place < len(pictures) - 1 else 0)
        found.append(_padded(picture, (along, other) if axis == 0 else (other, along)))
    return np.concatenate(found, axis=axis)
