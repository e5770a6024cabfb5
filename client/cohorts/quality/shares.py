"""Shares as bars, and the table of the kinds of cases with theirs."""

from __future__ import annotations

from collections.abc import Sequence

from client.cohorts.quality.counts import Cell
from common.page.drawings import ornament
from common.page.markup import Markup, tag
from common.page.tables import Column, Row, table
from common.page.wording import number, plural, share

LISTED = 20
"""Rows that a table of kinds shows; smaller kinds are counted together."""

_BAR_WIDTH = 120


def kinds_table(caption: str, noun: str, cells: Sequence[Cell], total: int) -> Markup:
    """Cases and patients of each kind, the share as a bar; small kinds beyond ``LISTED`` in one row."""
    rows = [
        Row(cell.name, [number(cell.cases), number(cell.patients), bar(cell.cases, total)])
        for cell in cells[:LISTED]
    ]
    rest = cells[LISTED:]
    if rest:
        cases = sum(cell.cases for cell in rest)
        rows.append(Row(plural(len(rest), "other"), [number(cases), None, bar(cases, total)]))
    return table(caption, (Column(noun), Column("Cases"), Column("Patients"), Column("Share", True)), rows)


def bar(part: int, whole: int) -> Markup:
    """A share as a bar with its percentage in words."""
    full = part / whole if whole else 0.0
    drawn = ornament(
        (_BAR_WIDTH, 10),
        tag("rect", width=_BAR_WIDTH, height=10, rx=2, class_="trough"),
        tag("rect", width=max(full * _BAR_WIDTH, 1.0 if part else 0.0), height=10, rx=2, class_="bar"),
    )
    return tag("span", drawn, tag("span", share(part, whole)), class_="share")
