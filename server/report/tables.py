"""Tables with a caption, row and column headers, and notes below; wide ones scroll by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from server.report.markup import Child, Markup, joined, tag
from server.report.wording import DASH, count, metric

SHOWN = 20
"""Rows that a table of sites shows at most; the others are in run.json."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading; ``words`` sets text to the left instead of numbers to the right."""

    label: str
    words: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its header, its cells and a CSS class that sets it apart."""

    header: str
    cells: Sequence[Child]
    kind: str | None = None


def table(
    caption: str, columns: Sequence[Column], rows: Iterable[Row], notes: Sequence[Child] = ()
) -> Markup:
    """A table whose first column holds the row headers."""
    head = tag("tr", joined(tag("th", c.label, scope="col", class_=_kind(c)) for c in columns))
    body = joined(_row(row, columns[1:]) for row in rows)
    inner = tag("table", tag("caption", tag("span", caption)), tag("thead", head), tag("tbody", body))
    return joined(
        [
            # Focusable, so that a keyboard can scroll it on a narrow screen.
            tag("div", inner, class_="scroll", tabindex=0, role="region", aria_label=caption),
            *(tag("p", note, class_="note") for note in notes if note),
        ]
    )


def score(value: float | None, below: str | None = None) -> Markup:
    """A metric as a cell, with small print below; one that is undefined points to the table's footnote."""
    if value is None:
        return tag("span", DASH, tag("sup", "†"), title="undefined, see the note below the table")
    return joined([metric(value), tag("small", below, class_="keep") if below else None])


def per_class(labels: Mapping[str, int], classes: Sequence[str], limit: int = 8) -> Markup:
    """``normal 200, pneumonia 199``, in the study's order of classes."""
    parts = [f"{name} {count(labels.get(name, 0))}" for name in classes[:limit]]
    parts += ["…"] if len(classes) > limit else []
    # A name and its number stay on one line.
    return joined((tag("span", part, class_="keep") for part in parts), ", ")


def _kind(column: Column) -> str | None:
    return "words" if column.words else None


def _row(row: Row, columns: Sequence[Column]) -> Markup:
    cells = (tag("td", cell, class_=_kind(column)) for cell, column in zip(row.cells, columns, strict=True))
    return tag("tr", tag("th", row.header, scope="row"), joined(cells), class_=row.kind)
