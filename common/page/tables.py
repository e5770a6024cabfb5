"""Tables with a caption, row and column headers, and notes below; wide ones scroll by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from common.page.markup import Child, Markup, joined, tag


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
    caption: str, columns: Sequence[Column], rows: Iterable[Row], notes: Iterable[Child] = ()
) -> Markup:
    """A table whose first column holds the row headers.

    Args:
        caption: What the table shows.
        columns: The first stands above the row headers.
        rows: Each with a cell for every further column.
        notes: Sentences below the table; None and empty ones are left away.

    Raises:
        ValueError: A row has too few or too many cells.
    """
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


def folded(words: str, content: Markup) -> Markup:
    """What is shown only to a reader who asks for it, and never on paper."""
    return tag("details", tag("summary", words), content)


def _kind(column: Column) -> str | None:
    return "words" if column.words else None


def _row(row: Row, columns: Sequence[Column]) -> Markup:
    cells = (tag("td", cell, class_=_kind(column)) for cell, column in zip(row.cells, columns, strict=True))
    return tag("tr", tag("th", row.header, scope="row"), joined(cells), class_=row.kind)
