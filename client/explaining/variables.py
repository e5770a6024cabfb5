"""A record explained: which variable, and which step, adds how much."""

from __future__ import annotations

import torch

from client.explaining.explanation import Explanation
from common.page.markup import Markup, joined
from common.page.tables import Column, Row, table
from common.page.wording import signed
from common.study import Steps, Study

SHOWN = 12
"""Variables and steps that are listed, those that add the most first."""


def variables(study: Study, found: Explanation) -> Markup:
    """Two tables: of variables, and of steps."""
    assert isinstance(study.sequence, Steps)  # noqa: S101  only called for records
    names = list(study.sequence.columns)
    by_kind = found.attribution.values.reshape(len(found.case.steps), 3, len(names))
    measured = found.case.steps.reshape(len(found.case.steps), 3, len(names))[:, 1].sum(0)
    each = by_kind.sum((0, 1))
    return joined([_of_variables(names, by_kind.sum(0), each, measured, found), _of_steps(by_kind, names)])


def _of_variables(
    names: list[str], kinds: torch.Tensor, each: torch.Tensor, measured: torch.Tensor, found: Explanation
) -> Markup:
    order = each.abs().argsort(descending=True)[:SHOWN].tolist()
    rows = [
        Row(
            names[v],
            (
                f"{int(measured[v])}",
                signed(float(each[v])),
                *(signed(float(kinds[kind, v])) for kind in range(3)),
                signed(float(found.occlusion.parts[v])),
            ),
        )
        for v in order
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
    caption = f"Variables that add the most, of {len(names)} (log-odds, nats)"
    return table(caption, tuple(Column(head) for head in heads), rows)


def _of_steps(by_kind: torch.Tensor, names: list[str]) -> Markup:
    each = by_kind.sum((1, 2))
    order = sorted(each.abs().argsort(descending=True)[:SHOWN].tolist())
    strongest = by_kind.sum(1)
    rows = []
    for step in order:
        most = int(strongest[step].abs().argmax())
        rows.append(
            Row(
                f"step {step + 1}",
                (signed(float(each[step])), names[most], signed(float(strongest[step, most]))),
            )
        )
    columns = (Column("Step"), Column("Adds"), Column("Most by", words=True), Column("which adds"))
    return table(f"Steps that add the most, of {len(each)}", columns, rows)
