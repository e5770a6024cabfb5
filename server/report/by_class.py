"""The table of figures by class: how well the model does on each class, or each label, on its own."""

from __future__ import annotations

from common.page.markup import Markup
from common.page.tables import Column, Row, table
from common.page.wording import number
from server.report.cells import score
from server.report.record import Run

_TITLES = {
    "specificity": "Specificity",
    "dice_deviation": "Dice, standard deviation",
    "ap50": "AP at IoU 0.5",
    "ap30": "AP at IoU 0.3",
}
_MOST = 50


def by_class(run: Run) -> Markup | None:
    """The table, or None in a run whose final evaluation does not tell classes apart."""
    if run.final is None or not run.final.pooled.by_class:
        return None
    pooled = run.final.pooled
    titles = {figure.key: figure.title for figure in run.figures} | _TITLES
    present = {key for told in pooled.by_class.values() for key in told}
    keys = [key for key in titles if key in present]
    counted = bool(pooled.labels)
    columns = [Column("Class"), *([Column(f"Test {run.counted}")] if counted else [])]
    columns += [Column(titles[key]) for key in keys]
    rows = [
        Row(
            name,
            [
                *([number(pooled.labels.get(name, 0))] if counted else []),
                *(score(told.get(key)) for key in keys),
            ],
        )
        for name, told in list(pooled.by_class.items())[:_MOST]
    ]
    hidden = len(pooled.by_class) - len(rows)
    notes = [
        f"{number(hidden)} more classes are in run.json." if hidden else None,
        "† Not defined here: no test case has what it needs."
        if any(told.get(key) is None for told in pooled.by_class.values() for key in keys)
        else None,
    ]
    return table("Each class on its own, all sites together", columns, rows, notes)
