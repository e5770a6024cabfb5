"""A record explained in words and numbers: which variable, and which step, adds how much."""

from __future__ import annotations

from client.explaining.contributions import Contributions
from common.page.markup import Markup, joined
from common.page.tables import Column, Row, table
from common.page.wording import signed

SHOWN = 12
"""Variables and steps that are listed, those that add the most first."""


def variables(found: Contributions) -> Markup:
    """Two tables: of variables, and of steps."""
    return joined([_of_variables(found), _of_steps(found)])


def _of_variables(found: Contributions) -> Markup:
    kinds, each, measured = found.values.sum(0), found.by_place.sum(0), found.measured.sum(0)
    rows = [
        Row(
            found.names[v],
            (
                f"{int(measured[v])}",
                signed(float(each[v])),
                *(signed(float(kinds[kind, v])) for kind in range(3)),
                signed(float(found.lost[v])),
            ),
        )
        for v in found.strongest(SHOWN)
    ]
    heads = (
        "Variable",
        "Times measured",
        "Adds",
        "by value",
        "by being measured",
        "by gap",
        "Lost without it",
    )
    caption = f"Variables that add the most, of {len(found.names)} (log-odds, nats)"
    return table(caption, tuple(Column(head) for head in heads), rows)


def _of_steps(found: Contributions) -> Markup:
    strongest, each = found.by_place, found.by_place.sum(1)
    order = sorted(each.abs().argsort(descending=True)[:SHOWN].tolist())
    rows = []
    for step in order:
        most = int(strongest[step].abs().argmax())
        words = f"step {step + 1}" + (f", time {found.times[step]:g}" if found.timed else "")
        adds, lost = signed(float(each[step])), signed(float(found.lost_steps[step]))
        rows.append(Row(words, (adds, lost, found.names[most], signed(float(strongest[step, most])))))
    columns = (
        Column("Step"),
        Column("Adds"),
        Column("Lost without it"),
        Column("Most by", words=True),
        Column("which adds"),
    )
    return table(f"Steps that add the most, of {len(each)}", columns, rows)
