"""HTML and SVG as values that escape by themselves.

Invariant: text becomes markup only through :func:`tag`, which escapes every child that is not already
`Markup` and every attribute value. A site or a label may be called ``<script>`` and the page will say so.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

# Elements that HTML forbids to close.
_VOID = frozenset({"link", "meta", "br", "col", "img"})
_SHAPES = frozenset({"line", "rect", "circle", "path", "polyline", "polygon"})

Attribute = str | int | float | bool | None


class Markup(str):
    """Text that is already HTML. Only this module, and literals in the source, may make one."""

    __slots__ = ()


Child = str | None


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """One element.

    Args:
        name: Element name.
        *children: Text (escaped), `Markup` (kept) or None (left away).
        **attributes: ``class_`` stands for ``class`` and ``stroke_width`` for ``stroke-width``; None and
            False leave an attribute away, True writes its bare name.
    """
    opening = name + "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _SHAPES and not children:
        return Markup(f"<{opening}/>")
    if name in _VOID:
        return Markup(f"<{opening}>")
    return Markup(f"<{opening}>{joined(children)}</{name}>")


def joined(children: Iterable[Child], between: str = "") -> Markup:
    """Children one after another, escaped where they are plain text."""
    return Markup(escape(between).join(_text(child) for child in children if child is not None))


def prose(text: str) -> Markup:
    """A sentence in which commands between backticks become code."""
    return joined(tag("code", part) if i % 2 else part for i, part in enumerate(text.split("`")))


def _text(child: str) -> str:
    return child if isinstance(child, Markup) else escape(child, quote=False)


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    text = f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
    return f' {name}="{escape(text)}"'
