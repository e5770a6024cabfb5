"""Cells that the report's tables share, and how many rows such a table has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.page.markup import Markup, joined, tag
from common.page.wording import DASH, metric, number

SHOWN = 20
"""Rows that a table of sites shows at most; the others are in run.json."""


def score(value: float | None, below: str | None = None) -> Markup:
    """A metric as a cell, with small print below; one that is undefined points to the table's footnote."""
    if value is None:
        return tag("span", DASH, tag("sup", "†"), title="undefined, see the note below the table")
    return joined([metric(value), tag("small", below, class_="keep") if below else None])


def per_class(labels: Mapping[str, int], classes: Sequence[str], limit: int = 8) -> Markup:
    """``normal 200, pneumonia 199``, in the study's order of classes."""
    parts = [f"{name} {number(labels.get(name, 0))}" for name in classes[:limit]]
    parts += ["…"] if len(classes) > limit else []
    # A name and its number stay on one line.
    return joined((tag("span", part, class_="keep") for part in parts), ", ")
