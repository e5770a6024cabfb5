"""Histograms of brightness as inline SVG, and pictures as PNG inside the page."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from common.page.drawings import drawing
from common.page.markup import Markup, tag
from common.page.wording import percent

_WIDTH, _HEIGHT, _BOTTOM = 240.0, 96.0, 74.0


def brightness_chart(
    key: str, name: str, shares: Sequence[float], others: Sequence[float], against: str
) -> Markup:
    """A histogram from black to white as an area, with another one as a line to compare it with.

    Heights are square roots: background alone would otherwise press all else to the ground.

    Args:
        key: Unique in the page.
        name: What the area shows.
        shares: Shares of pixels from black to white, of the area.
        others: The same of the line.
        against: What the line shows.
    """
    top = max((*shares, *others, 1e-9)) ** 0.5
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in _corners(others, top))
    area = " ".join(f"{x:.1f},{y:.1f}" for x, y in _corners(shares, top))
    ends = (("black", 2.0, "start"), ("white", _WIDTH - 2, "end"))
    return drawing(
        key,
        f"Brightness: {name}",
        f"{_described(shares)} {against}: {_described(others)}",
        (_WIDTH, _HEIGHT),
        tag("polygon", points=f"0,{_BOTTOM} {area} {_WIDTH},{_BOTTOM}", class_="area"),
        tag("polyline", points=line, fill="none", class_="outline"),
        tag("line", x1=0, x2=_WIDTH, y1=_BOTTOM, y2=_BOTTOM, class_="rule"),
        *(tag("text", word, x=x, y=_HEIGHT - 6, text_anchor=anchor) for word, x, anchor in ends),
    )


def picture(pixels: NDArray[np.uint8] | None, alt: str) -> Markup:
    """A small picture inside the page, or a word in its place if there is none.

    Args:
        pixels: (h, w) uint8.
        alt: What it is, for who cannot see it.
    """
    from PIL import Image

    if pixels is None:
        return tag("span", "no picture", class_="absent")
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", optimize=True)
    source = f"data:image/png;base64,{b64encode(buffer.getvalue()).decode('ascii')}"
    height, width = pixels.shape
    return tag("img", src=source, alt=alt, width=width, height=height)


def _corners(shares: Sequence[float], top: float) -> list[tuple[float, float]]:
    """Two corners for each step, so that steps are seen as steps."""
    step, found = _WIDTH / len(shares), []
    for index, part in enumerate(shares):
        height = _BOTTOM - part**0.5 / top * (_BOTTOM - 4)
        found += [(index * step, height), ((index + 1) * step, height)]
    return found


def _described(shares: Sequence[float]) -> str:
    """The shares of four quarters in words."""
    quarter = len(shares) // 4
    parts = [percent(sum(shares[i * quarter : (i + 1) * quarter])) for i in range(4)]
    return f"of the pixels, from dark to bright quarter: {', '.join(parts)}."
