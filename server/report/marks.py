"""What tells sites apart in a chart: hue, dash and marker together, so that no single one has to.

Six hues that stay apart in the common forms of colour blindness, four dashes and twelve markers give
`LIMIT` different lines. The hues themselves stand in the style that all pages share, once for light and
once for dark.
"""

from __future__ import annotations

from collections.abc import Mapping

from common.page.drawings import ornament
from common.page.markup import Markup, joined, tag

LIMIT = 12
_HUES = 6
_DASHES = (None, "7 3", "2 2.5", "9 3 2 3")
_HOLLOW = 6

# Corners on a unit square around the middle; the circle has none.
_TRIANGLE = ((-1, 0.8), (1, 0.8), (0, -1))
_SHAPES = (
    (),
    ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    _TRIANGLE,
    ((0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)),
    tuple((x, -y) for x, y in _TRIANGLE),
)


def hue(index: int | None) -> str:
    """CSS class that sets the colour; None is the line of all sites together."""
    return "all" if index is None else f"hue{index % _HUES}"


def line(path: str, index: int | None) -> Markup:
    """A line along an SVG path."""
    width, dash = (3, None) if index is None else (1.75, _DASHES[index % len(_DASHES)])
    return tag(
        "path", d=path, fill="none", stroke="currentColor", stroke_width=width, stroke_dasharray=dash,
        stroke_linejoin="round", stroke_linecap="round" if dash is None else None,
    )  # fmt: skip


def marker(x: float, y: float, index: int | None, radius: float = 3.5) -> Markup:
    """The marker of a line at a point: filled for the first six, hollow or upright for the others."""
    if index is None:
        return tag("circle", cx=x, cy=y, r=radius + 0.5, fill="currentColor")
    kind, hollow = index % _HOLLOW, index % LIMIT >= _HOLLOW
    paint = {
        "fill": "var(--paper)" if hollow else "currentColor",
        "stroke": "currentColor",
        "stroke_width": 1.5,
    }
    if kind == 0:
        return tag("circle", cx=x, cy=y, r=radius, **paint)
    if kind == len(_SHAPES):
        return _cross(x, y, radius, upright=hollow)
    corners = " ".join(f"{x + radius * dx:.1f},{y + radius * dy:.1f}" for dx, dy in _SHAPES[kind])
    return tag("polygon", points=corners, **paint)


def swatch(index: int | None, markers: bool = True) -> Markup:
    """A piece of the line for a legend; decoration, for the name stands beside it."""
    point = marker(18, 7, index) if markers and index is not None else None
    return ornament((36, 14), line("M2 7H34", index), point, kind=hue(index))


def legend(names: Mapping[str, int | None], markers: bool = True) -> Markup:
    """Names with their lines, in the order given."""
    items = (tag("li", swatch(index, markers), tag("span", name)) for name, index in names.items())
    return tag("ul", joined(items), class_="legend")


def _cross(x: float, y: float, radius: float, *, upright: bool) -> Markup:
    reach = radius * (1.2 if upright else 0.9)
    if upright:
        path = f"M{x - reach:.1f} {y:.1f}h{2 * reach:.1f}M{x:.1f} {y - reach:.1f}v{2 * reach:.1f}"
    else:
        path = f"M{x - reach:.1f} {y - reach:.1f}l{2 * reach:.1f} {2 * reach:.1f}m0 {-2 * reach:.1f}"
        path += f"l{-2 * reach:.1f} {2 * reach:.1f}"
    return tag("path", d=path, stroke="currentColor", stroke_width=2)
