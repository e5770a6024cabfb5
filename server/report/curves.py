"""How the shared model got better: one chart per metric over the rounds.

Up to `marks.LIMIT` sites have a line each. More would be a tangle, so they become their median and the
band that holds the middle 80 % of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from common.metrics import LOSS, Figure
from common.page.markup import Markup, joined, tag
from common.page.tables import Column, Row, folded, table
from common.page.wording import metric
from server.report import marks
from server.report.charts import Axis, Chart, Series, drawing, rounds_axis, thinned, values_axis
from server.report.intervals import spread
from server.report.record import Run
from server.report.scores import Evaluation

POOLED = "All sites together"
_MEDIAN = "Median of the sites"
_CHANCE = frozenset({"auroc", "concordance"})
"""Figures of ranking, of which one half is a coin toss."""
_TABLE_ROWS = 40

Evaluated = Sequence[tuple[int, Evaluation]]


def curves(run: Run) -> Markup | None:
    """A legend and the charts, or None if no round was evaluated."""
    evaluated = [(r.number, r.metrics) for r in run.rounds if r.metrics]
    if not evaluated:
        return None
    crowded = len(run.sites) > marks.LIMIT
    names: dict[str, int | None] = {POOLED: None}
    names |= {_MEDIAN: 0} if crowded else {name: i for i, name in enumerate(run.sites)}
    legend = [marks.legend(names)]
    if crowded:
        middle = f"the middle 80 % of the {len(run.sites):,} sites (10th to 90th percentile)"
        words = f"The shaded band holds {middle}."
        legend.append(tag("p", words, class_="note"))
    drawn = (_figure(run, evaluated, figure, crowded) for figure in _figures(run))
    return joined([*legend, tag("div", joined(drawn), class_="charts")])


def _figures(run: Run) -> list[Figure]:
    """The two figures that say most, and between them the loss."""
    first, *others = run.figures
    return [first, LOSS, *others[:1]]


def _figure(run: Run, evaluated: Evaluated, figure: Figure, crowded: bool) -> Markup | None:
    name = figure.key
    series = _summarised(evaluated, name) if crowded else _each(run, evaluated, name)
    band = _band(evaluated, name) if crowded else []
    values = [y for s in series for _, y in s.points if y is not None]
    if not values:
        return None
    chart = Chart(
        key=f"curve-{name}",
        title=f"{figure.title} on the test {run.cases} after each round",
        described=" ".join(_story(s) for s in series),
        x=rounds_axis(evaluated[0][0], evaluated[-1][0]),
        y=axis_of(figure, [*values, *(edge for _, *edges in band for edge in edges)]),
        series=series,
        band=band,
        reference=((evaluated[0][0], 0.5), (evaluated[-1][0], 0.5)) if name in _CHANCE else None,
    )
    reading = "higher is better" if figure.higher_is_better else "lower is better"
    hint = f" ({reading}; dotted: a coin toss)" if name in _CHANCE else f" ({reading})"
    caption = tag("figcaption", tag("strong", figure.title), hint)
    return tag("figure", caption, drawing(chart), _values(chart.title, series))


def axis_of(figure: Figure, values: Sequence[float]) -> Axis:
    """Good shares are shown from one half to one, or further down if they fall lower; all else from zero."""
    if figure.share and figure.higher_is_better:
        return values_axis("", values, 0.5, 1.0)
    return values_axis("", values, 0.0, 0.1)


def _each(run: Run, evaluated: Evaluated, name: str) -> list[Series]:
    sites = [
        Series(
            site,
            [(float(n), e.sites[site].value(name) if site in e.sites else None) for n, e in evaluated],
            index,
        )
        for index, site in enumerate(run.sites)
    ]
    return [_pooled(evaluated, name), *sites]


def _summarised(evaluated: Evaluated, name: str) -> list[Series]:
    medians = [(float(n), s.median if (s := spread(_over_sites(e, name))) else None) for n, e in evaluated]
    return [_pooled(evaluated, name), Series(_MEDIAN, medians, 0)]


def _band(evaluated: Evaluated, name: str) -> list[tuple[float, float, float]]:
    spreads = ((n, spread(_over_sites(e, name))) for n, e in evaluated)
    return [(float(n), s.low, s.high) for n, s in spreads if s]


def _pooled(evaluated: Evaluated, name: str) -> Series:
    return Series(POOLED, [(float(n), e.pooled.value(name)) for n, e in evaluated], markers=False)


def _over_sites(evaluation: Evaluation, name: str) -> list[float | None]:
    return [scores.value(name) for scores in evaluation.sites.values()]


def _story(series: Series) -> str:
    """A line in words: where it begins and where it ends."""
    known = [(x, y) for x, y in series.points if y is not None]
    if not known:
        return f"{series.name}: undefined throughout."
    (first, begin), (last, end) = known[0], known[-1]
    return f"{series.name}: {metric(begin)} after round {first:.0f}, {metric(end)} after round {last:.0f}."


def _values(caption: str, series: Sequence[Series]) -> Markup:
    columns = [Column("Round"), *(Column(s.name) for s in series)]
    lines = thinned(list(zip(*(s.points for s in series), strict=True)), _TABLE_ROWS)
    rows = [Row(f"{line[0][0]:.0f}", [metric(y) for _, y in line]) for line in lines]
    return folded("The same as a table", table(caption, columns, rows))
