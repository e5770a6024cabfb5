"""Inline SVG: drawings that also speak to readers who cannot see them, and ornaments that need not."""

from __future__ import annotations

from common.page.markup import Child, Markup, tag

Size = tuple[float, float]
"""Width and height in the drawing's own units."""


def drawing(key: str, title: str, described: str, size: Size, *parts: Child) -> Markup:
    """A drawing as wide as its place, with a title and a description.

    Args:
        key: Unique in the page; ids derive from it.
        title: What it shows.
        described: What a person who cannot see it should know of it.
        size: Its proportions.
        *parts: Shapes and text.
    """
    return tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", described, id=f"{key}-words"),
        *parts,
        viewBox=_box(size), role="img", aria_labelledby=f"{key}-title", aria_describedby=f"{key}-words",
        class_="chart",
    )  # fmt: skip


def ornament(size: Size, *parts: Child, kind: str | None = None) -> Markup:
    """A small drawing of its own size that says nothing beyond the words beside it.

    Args:
        size: In CSS pixels.
        *parts: Shapes.
        kind: CSS class.
    """
    width, height = size
    return tag("svg", *parts, viewBox=_box(size), width=width, height=height, class_=kind, aria_hidden="true")


def _box(size: Size) -> str:
    return f"0 0 {size[0]:g} {size[1]:g}"
