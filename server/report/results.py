"""The table of scores: the shared model on the test images of each site and of all together."""

from __future__ import annotations

import math
from collections.abc import Sequence

from common.page.markup import Markup, joined
from common.page.tables import Column, Row, table
from common.page.wording import listing, metric, number
from server.report.cells import SHOWN, per_class, score
from server.report.intervals import interval, spread
from server.report.record import Run
from server.report.scores import Evaluation, Scores

_MIXING = frozenset({"auroc", "auprc", "accuracy", "concordance"})
"""Figures that grow where the cases of all sites are one set and the model can tell the sites apart."""


def results(run: Run) -> Markup | None:
    """The table, or None if nothing was evaluated."""
    latest = run.latest
    if latest is None:
        return None
    labels = ["Site", f"Test {run.cases}", *(figure.title for figure in run.figures)]
    columns = [Column(label) for label in labels]
    if latest.pooled.labels:
        columns.append(Column(f"Test {run.counted} per class", words=True))
    shown = _shown(run, latest)
    rows = [_row(run, name, latest.sites[name]) for name in shown]
    rows += _spread_rows(run, latest) if len(shown) < len(latest.sites) else []
    rows.append(_row(run, "All sites together", latest.pooled, "total"))
    return table(_caption(run, latest), columns, rows, _notes(run, latest, shown))


def _shown(run: Run, latest: Evaluation) -> list[str]:
    """All sites, or where they are too many those that the model serves worst."""
    names = list(latest.sites)
    if len(names) <= SHOWN:
        return names

    def rank(name: str) -> float:
        value = latest.sites[name].value(run.headline.key)
        return math.inf if value is None else run.headline.better(value, 0.0)

    return sorted(names, key=rank)[:SHOWN]


def _row(run: Run, name: str, scores: Scores, kind: str | None = None) -> Row:
    cells = [score(scores.value(f.key), _bounds(run, scores, f.key)) for f in run.figures]
    labels = [per_class(scores.labels, run.classes)] if scores.labels else []
    return Row(name, [number(scores.n), *cells, *labels], kind)


def _bounds(run: Run, scores: Scores, key: str) -> str | None:
    bounds = interval(scores, key, run.classes)
    return f"{metric(bounds.low, 2)} to {metric(bounds.high, 2)}" if bounds else None


def _spread_rows(run: Run, latest: Evaluation) -> list[Row]:
    spreads = [spread(s.value(f.key) for s in latest.sites.values()) for f in run.figures]
    levels = {"10 % of all sites are below": "low", "Median of all sites": "median", "10 % are above": "high"}
    labels = [""] if latest.pooled.labels else []
    return [
        Row(label, ["", *(score(getattr(s, level) if s else None) for s in spreads), *labels], "between")
        for label, level in levels.items()
    ]


def _caption(run: Run, latest: Evaluation) -> str:
    when = f"after round {latest.round}" if latest.round is not None else ""
    return f"The shared model {when} on each site's own test {run.cases}"


def _notes(run: Run, latest: Evaluation, shown: Sequence[str]) -> list[Markup | str | None]:
    hidden = len(latest.sites) - len(shown)
    worst = "lowest" if run.headline.higher_is_better else "highest"
    cut = f"The {len(shown)} sites with the {worst} values are shown; {number(hidden)} more are in run.json."
    tested = [latest.pooled, *(latest.sites[name] for name in shown)]
    undefined = any(scores.value(f.key) is None for scores in tested for f in run.figures)
    return [
        cut if hidden else None,
        _undefined(run, latest) if undefined else None,
        _chance(run) if any(_bounds(run, s, f.key) for s in tested for f in run.figures) else None,
        _counted(run),
    ]


def _undefined(run: Run, latest: Evaluation) -> str:
    if not run.is_classification:
        return (
            "† Not defined here, because no test case has what it needs: two classes, a finding or an event."
        )
    single = [name for name, s in latest.sites.items() if sum(n > 0 for n in s.labels.values()) == 1]
    where = f" All test {run.cases} have one class at {listing(single)}." if single else ""
    return (
        f"† Not defined here. AUROC needs test {run.cases} of more than one class, recall {run.cases} of the "
        f"class in question, and precision {run.cases} that the model put into it.{where}"
    )


def _chance(run: Run) -> Markup:
    sites = run.sites.values()
    drawn = run.latest is not None and run.latest.pooled.intervals
    repeated = not drawn and sum(s.test_cases for s in sites) > sum(s.test_patients for s in sites)
    wider = (
        f" Some patients have several {run.cases}, so the true intervals are somewhat wider."
        if repeated
        else ""
    )
    return joined([f"Small print below a score: its 95 % interval {_measured(run)}.", wider])


def _measured(run: Run) -> str:
    """Where the intervals come from."""
    counted = f"from the number of test {run.cases}"
    if run.latest is None or not run.latest.pooled.intervals:
        return counted
    drawn = "by drawing patients again and again"
    alone = any(not scores.intervals for scores in run.latest.sites.values())
    return f"{drawn}; of sites with too few patients for that, {counted}" if alone else drawn


def _counted(run: Run) -> str | None:
    mixing = (
        "The score over all sites can also reward telling sites apart; read the rows of the sites with it."
        if len(run.sites) > 1 and run.headline.key in _MIXING
        else None
    )
    return " ".join(filter(None, [_averaged(run), mixing])) or None


def _averaged(run: Run) -> str | None:
    """What the figures of several classes are."""
    if run.has_several_labels:
        return "Every figure but the loss is the mean over the labels, each counted on its own."
    if not run.is_classification:
        return None
    if len(run.classes) == 2:
        return f"F1, recall and precision count “{run.classes[1]}” as the finding."
    return "F1, recall and precision are means over the classes that occur."
