"""How the model got better as privacy was spent, and how it was spent over the rounds.

Up to `marks.LIMIT` sites have a line each; more become their median and the middle 80 % of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from common.page.markup import Markup, joined, tag
from common.page.tables import Column, Row, folded, table
from common.page.wording import DASH, metric, number
from server.report import marks
from server.report.charts import Axis, Chart, Series, drawing, rounds_axis, thinned, values_axis
from server.report.curves import POOLED, axis_of
from server.report.intervals import spread
from server.report.record import Run
from server.report.scores import Evaluation, Number

_MEDIAN = "Median of the sites"
_ROWS = 40

Band = Sequence[tuple[float, float, float]]


@dataclass(frozen=True, slots=True)
class _Moment:
    """A round, what each site had spent after it, and how the model did, if that was tested."""

    round: int
    spent: Mapping[str, float]
    metrics: Evaluation | None


def epsilon_words(value: Number) -> str:
    """``7.93``; a dash where it is unknown."""
    return DASH if value is None else f"{value:.2f}"


def spending(run: Run) -> Markup | None:
    """The charts with their legend, or None if nothing was spent yet."""
    moments = _moments(run)
    by_site = any(moment.spent for moment in moments)
    figures = [_against(run, moments), _over_rounds(run, moments)] if by_site else []
    drawn = joined(figure for figure in [*figures, _against_site_level(run)] if figure)
    if not drawn:
        return None
    names: dict[str, int | None] = {POOLED: None}
    if by_site:
        names |= {_MEDIAN: 0} if _crowded(run) else {name: i for i, name in enumerate(run.sites)}
    band = f"The shaded bands hold the middle 80 % of the {number(len(run.sites))} sites."
    note = tag("p", band, class_="note") if by_site and _crowded(run) else None
    return joined([marks.legend(names), note, tag("div", drawn, class_="charts")])


def _moments(run: Run) -> list[_Moment]:
    """Every round; a site that did not contribute has spent what it had before."""
    found: list[_Moment] = []
    so_far: dict[str, float] = {}
    for item in run.rounds:
        told = {name: share.epsilon for name, share in item.training.items() if share.epsilon is not None}
        so_far = {**so_far, **told}
        found.append(_Moment(item.number, so_far, item.metrics))
    return found


def _crowded(run: Run) -> bool:
    return len(run.sites) > marks.LIMIT


def _against(run: Run, moments: Sequence[_Moment]) -> Markup | None:
    """The headline metric after each round that was tested, over what had been spent by then."""
    tested = [(m.round, m.spent, m.metrics) for m in moments if m.spent and m.metrics]
    name, band = run.headline.key, []
    series = [Series(POOLED, [(max(s.values()), e.pooled.value(name)) for _, s, e in tested], markers=False)]
    if _crowded(run):
        middle = [
            (_median(s.values()), spread(scores.value(name) for scores in e.sites.values()))
            for _, s, e in tested
        ]
        series.append(Series(_MEDIAN, [(x, y.median if y else None) for x, y in middle], 0))
        band = [(x, y.low, y.high) for x, y in middle if y]
    else:
        for index, site in enumerate(run.sites):
            values = [e.sites[site].value(name) if site in e.sites else None for _, _, e in tested]
            points = [(s.get(site, 0.0), y) for (_, s, _), y in zip(tested, values, strict=True)]
            series.append(Series(site, points, index))
    across = "epsilon of a site's training (all sites: the largest)"
    return _scored(run, "epsilon", across, [number_ for number_, *_ in tested], series, band)


def _against_site_level(run: Run) -> Markup | None:
    """The headline metric over what the coordinator's guarantee had cost."""
    if run.privacy is None or run.privacy.sites is None:
        return None
    cost = zip(run.rounds, run.privacy.sites.epsilon, strict=False)
    tested = [(r.number, epsilon, r.metrics) for r, epsilon in cost if r.metrics and epsilon is not None]
    series = Series(POOLED, [(x, e.pooled.value(run.headline.key)) for _, x, e in tested])
    return _scored(run, "sites", "epsilon of taking part as a site", [n for n, *_ in tested], [series])


def _over_rounds(run: Run, moments: Sequence[_Moment]) -> Markup:
    """What the sites had spent after each round."""
    if _crowded(run):
        spreads = [(float(m.round), spread(m.spent.values())) for m in moments]
        series = [Series(_MEDIAN, [(x, y.median if y else None) for x, y in spreads], 0)]
        band = [(x, y.low, y.high) for x, y in spreads if y]
    else:
        band = []
        series = [
            Series(site, [(float(m.round), m.spent.get(site)) for m in moments], index)
            for index, site in enumerate(run.sites)
        ]
    known = [value for m in moments for value in m.spent.values()]
    rounds = [m.round for m in moments]
    title = "Epsilon of each site after each round"
    chart = Chart(
        key="privacy-rounds",
        title=title,
        described=" ".join(_story(s, "{y:.2f} after round {x:.0f}") for s in series),
        x=rounds_axis(rounds[0], rounds[-1]),
        y=values_axis("", known, 0.0, 0.1),
        series=series,
        band=band,
    )
    cells = [[epsilon_words(y) for _, y in s.points] for s in series]
    hint = " (a flat piece: nothing was spent)"
    caption = tag("figcaption", tag("strong", "Epsilon over the rounds"), hint)
    return tag("figure", caption, drawing(chart), _values(title, rounds, series, cells))


def _scored(
    run: Run, key: str, across: str, rounds: Sequence[int], series: Sequence[Series], band: Band = ()
) -> Markup | None:
    """The headline metric over an epsilon, or None where it was never defined."""
    known = [y for s in series for _, y in s.points if y is not None]
    if not known:
        return None
    name = run.headline.title
    title = f"{name} on the test {run.cases} over the {across}"
    chart = Chart(
        key=f"privacy-{key}",
        title=title,
        described=" ".join(_story(s, "{y:.3f} at epsilon {x:.2f}") for s in series),
        x=_epsilon_axis(across, series),
        y=axis_of(run.headline, [*known, *(edge for _, *edges in band for edge in edges)]),
        series=series,
        band=band,
    )
    cells = [[f"{metric(y)} at {x:.2f}" for x, y in s.points] for s in series]
    what = tag("strong", f"{name} against {across.split(' (')[0]}")
    caption = tag(
        "figcaption", what, f" ({'up' if run.headline.higher_is_better else 'down'} and left: better)"
    )
    return tag("figure", caption, drawing(chart), _values(title, rounds, series, cells))


def _epsilon_axis(label: str, series: Sequence[Series]) -> Axis:
    return values_axis(label, [x for s in series for x, _ in s.points], 0.0, 0.1)


def _story(series: Series, words: str) -> str:
    """A line in words: where it begins and where it ends."""
    known = [(x, y) for x, y in series.points if y is not None]
    if not known:
        return f"{series.name}: undefined throughout."
    ends = (words.format(x=x, y=y) for x, y in (known[0], known[-1]))
    return f"{series.name}: {', '.join(ends)}."


def _values(
    caption: str, rounds: Sequence[int], series: Sequence[Series], cells: Sequence[Sequence[str]]
) -> Markup:
    lines = thinned(list(zip(rounds, *cells, strict=True)), _ROWS)
    rows = [Row(str(line[0]), [str(cell) for cell in line[1:]]) for line in lines]
    columns = [Column("Round"), *(Column(s.name) for s in series)]
    return folded("The same as a table", table(caption, columns, rows))


def _median(values: Iterable[float]) -> float:
    found = spread(values)
    return 0.0 if found is None else found.median
