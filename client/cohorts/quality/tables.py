"""Tables with a caption and headers, and bars that show shares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from client.cohorts.quality.counts import Cell
from client.cohorts.quality.markup import Child, Markup, joined, tag
from client.cohorts.quality.wording import number, plural, share

LISTED = 20
"""Rows that a table of kinds shows; smaller kinds are counted together."""

_BAR_WIDTH = 120


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading; ``words`` sets text to the left instead of numbers to the right."""

    label: str
    words: bool = False


def table(caption: str, columns: Sequence[Column], rows: Iterable[Sequence[Child]]) -> Markup:
    """A table whose first column holds the row headers."""
    kinds = ["words" if column.words else None for column in columns]
    heads = (
        tag("th", column.label, scope="col", class_=kind) for column, kind in zip(columns, kinds, strict=True)
    )
    body = joined(_row(row, kinds) for row in rows)
    inner = tag("table", tag("caption", caption), tag("thead", tag("tr", joined(heads))), tag("tbody", body))
    # Focusable, so that a keyboard can scroll it on a narrow screen.
    return tag("div", inner, class_="scroll", tabindex=0, role="region", aria_label=caption)


def kinds_table(caption: str, noun: str, cells: Sequence[Cell], total: int) -> Markup:
    """Cases and patients of each kind, the share as a bar; small kinds beyond ``LISTED`` in one row."""
    rows: list[Sequence[Child]] = [
        (cell.name, number(cell.cases), number(cell.patients), bar(cell.cases, total))
        for cell in cells[:LISTED]
    ]
    rest = cells[LISTED:]
    if rest:
        cases = sum(cell.cases for cell in rest)
        rows.append((f"{plural(len(rest), 'other')}", number(cases), None, bar(cases, total)))
    return table(caption, (Column(noun), Column("Cases"), Column("Patients"), Column("Share", True)), rows)


def bar(part: int, whole: int) -> Markup:
    """A share as a bar with its percentage in words."""
    full = part / whole if whole else 0.0
    drawn = tag(
        "svg",
        tag("rect", width=_BAR_WIDTH, height=10, rx=2, class_="trough"),
        tag("rect", width=max(full * _BAR_WIDTH, 1.0 if part else 0.0), height=10, rx=2, class_="bar"),
        viewBox=f"0 0 {_BAR_WIDTH} 10", width=_BAR_WIDTH, height=10, aria_hidden="true",
    )  # fmt: skip
    return tag("span", drawn, tag("span", share(part, whole)), class_="share")


def _row(row: Sequence[Child], kinds: Sequence[str | None]) -> Markup:
    cells = (tag("td", cell, class_=kind) for cell, kind in zip(row[1:], kinds[1:], strict=True))
    return tag("tr", tag("th", row[0], scope="row", class_=kinds[0]), joined(cells))
