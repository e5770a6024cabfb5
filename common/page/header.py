"""The top of a page: what it is and how that stands, a heading, a sentence, and the numbers to remember."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from common.page.markup import Child, Markup, joined, tag


class Standing(StrEnum):
    """How a thing stands: the colour of its badge."""

    good = "good"
    warn = "warn"
    stop = "stop"


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """A number to remember, with small print below."""

    name: str
    value: str
    more: str = ""


def header(kicker: str, status: Markup, title: str, lede: str, *below: Child) -> Markup:
    """The top of a page.

    Args:
        kicker: What kind of page it is.
        status: A :func:`badge`.
        title: The only heading of the first level.
        lede: The page in one to three sentences.
        *below: What follows, such as :func:`key_figures`.
    """
    return tag(
        "header",
        tag("p", kicker, status, class_="kicker"),
        tag("h1", title),
        tag("p", lede, class_="lede"),
        *below,
    )


def badge(word: str, standing: Standing) -> Markup:
    """A word in a coloured frame; the word alone says it, too."""
    return tag("span", word, class_=f"status {standing}")


def key_figures(figures: Iterable[KeyFigure]) -> Markup:
    """The few numbers to remember, in boxes."""
    boxes = (
        tag("div", tag("dt", f.name), tag("dd", f.value, tag("small", f.more) if f.more else None))
        for f in figures
    )
    return tag("dl", joined(boxes), class_="figures")
