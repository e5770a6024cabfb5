"""What federating bought: the shared model against each site alone and against all data in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping

from common.metrics import Figure
from common.page.drawings import ornament
from common.page.markup import Markup, joined, tag
from common.page.tables import Column, Row, table
from common.page.wording import listing, metric, number, plural, signed
from server.report.cells import SHOWN, score
from server.report.charts import values_axis
from server.report.intervals import interval
from server.report.record import Baselines, Run
from server.report.scores import Evaluation, Interval, Scores

_SHARED = "Shared model (federated)"
_CENTRAL = "All data in one place"
_SAME = 0.01
_NAMED = 6
_MOST_OTHERS = 4
_SCALE_WIDTH, _SCALE_HEIGHT, _EDGE = 190, 26, 10


def comparison(run: Run) -> Markup | None:
    """Verdict and tables, or None if there is nothing to compare with."""
    if run.baselines is None or run.final is None:
        return None
    return joined(
        [
            tag("p", _verdict(run, run.final, run.baselines)),
            _on_all(run, run.final, run.baselines),
            _on_own(run, run.final, run.baselines) if run.baselines.local else None,
        ]
    )


def _verdict(run: Run, final: Evaluation, baselines: Baselines) -> str:
    return " ".join(
        filter(
            None,
            [
                _against_alone(run, final, baselines.local),
                _against_central(run, final, baselines.pooled),
                _on_own_words(run, final, baselines.local),
            ],
        )
    )


def _against_alone(run: Run, final: Evaluation, local: Mapping[str, Evaluation]) -> str:
    alone = {site: v for site, m in local.items() if (v := m.pooled.value(run.headline.key)) is not None}
    if not alone:
        return ""
    best = max(alone, key=lambda site: run.headline.better(alone[site], 0.0))
    how = _relation(run, final.pooled, local[best].pooled)
    rival = f"the best model of a single site ({best}, {run.headline.spoken} {metric(alone[best])})"
    return f"On the test {run.cases} of all sites, the shared model {how} {rival}."


def _against_central(run: Run, final: Evaluation, central: Evaluation | None) -> str:
    if central is None:
        return ""
    return f"It {_relation(run, final.pooled, central.pooled)} a model trained on all data in one place."


def _on_own_words(run: Run, final: Evaluation, local: Mapping[str, Evaluation]) -> str:
    groups: dict[str, list[str]] = {"better than": [], "about as well as": [], "worse than": []}
    for site, model in local.items():
        if (difference := _gain(run, final, local, site)) is not None:
            alike = _alike(run, final.sites[site], model.sites[site])
            how = "about as well as" if alike else ("better than" if difference > 0 else "worse than")
            groups[how].append(site)
    parts = [f"{how} the site's own model at {_places(sites)}" for how, sites in groups.items() if sites]
    return f"On a site's own test {run.cases}, the shared model does {'; '.join(parts)}." if parts else ""


def _places(sites: list[str]) -> str:
    return listing(sites) if len(sites) <= _NAMED else plural(len(sites), "site")


def _relation(run: Run, ours: Scores, theirs: Scores) -> str:
    """How one model stands to another on the same test cases."""
    mine, other = ours.value(run.headline.key), theirs.value(run.headline.key)
    if mine is None or other is None:
        return "cannot be compared with"
    if _alike(run, ours, theirs):
        return "does about as well as"
    name = run.headline.spoken
    return f"is {abs(mine - other):.3f} {name} {'above' if mine > other else 'below'}"


def _alike(run: Run, ours: Scores, theirs: Scores) -> bool:
    """Whether each score lies in the other's 95 % interval; without intervals, whether they nearly agree."""
    mine, other = ours.value(run.headline.key) or 0.0, theirs.value(run.headline.key) or 0.0
    bounds = [interval(scores, run.headline.key, run.classes) for scores in (theirs, ours)]
    inside = [b.low <= value <= b.high for b, value in zip(bounds, (mine, other), strict=True) if b]
    return (
        all(inside)
        if inside
        else abs(mine - other) < _SAME * (1.0 if run.headline.share else max(abs(mine), abs(other)))
    )


def _on_all(run: Run, final: Evaluation, baselines: Baselines) -> Markup:
    name = run.headline.title
    models = _models(run, final, baselines)
    scale = _scale_of(run, models)
    columns = [Column("Trained by"), Column(name), Column(f"{scale.low:.1f} to {scale.high:.1f}", words=True)]
    columns += [Column(label) for label in ("Shared model's lead", *(f.title for f in _others(run)))]
    rows = [_model_row(run, label, model, final, scale) for label, model in models.items()]
    hidden = len(baselines.local) + 2 - len(models) if len(baselines.local) > SHOWN else 0
    notes = [
        f"{number(hidden)} more models of single sites are in run.json." if hidden else None,
        _dots(run, name),
        _undefined(
            run, [m.pooled.value(f.key) for m in models.values() for f in (run.headline, *_others(run))]
        ),
    ]
    return table(f"Tested on the {run.cases} of all sites together", columns, rows, notes)


def _others(run: Run) -> list[Figure]:
    """What stands beside the headline: what narrow tables show, as much of it as there is room for."""
    return [figure for figure in run.figures[1:] if figure.brief != ""][:_MOST_OTHERS]


def _dots(run: Run, name: str) -> str:
    chance = f"With few test {run.cases} small differences may be chance."
    if run.is_classification and len(run.classes) > 2 and run.headline.key == "auroc":
        return f"Dot: the {name} over several classes. {chance}"
    if run.final is None or interval(run.final.pooled, run.headline.key, run.classes) is None:
        return f"Dot: the {name}. {chance}"
    rule = "The text above says “about as well” when each score lies within the other's interval."
    return f"Dot: the {name}; bar: its 95 % interval. {rule}"


def _models(run: Run, final: Evaluation, baselines: Baselines) -> dict[str, Evaluation]:
    """Every model under the name it has in the table; single sites from best to worst."""

    def rank(item: tuple[str, Evaluation]) -> float:
        value = item[1].pooled.value(run.headline.key)
        return math.inf if value is None else -run.headline.better(value, 0.0)

    ranked = sorted(baselines.local.items(), key=rank)
    alone = {f"{site} alone": model for site, model in ranked}
    if len(ranked) > SHOWN:
        places = {"Best site alone": 0, "Median site alone": len(ranked) // 2, "Last site alone": -1}
        alone = {f"{place}: {ranked[i][0]}": ranked[i][1] for place, i in places.items()}
    models = {_CENTRAL: baselines.pooled} if baselines.pooled else {}
    return {**models, _SHARED: final, **alone}


def _scale_of(run: Run, models: Mapping[str, Evaluation]) -> Interval:
    """Where the scale begins and ends.

    Of a good share at one half, or lower in tenths if a model or its interval reaches below, and at one; of
    anything else at zero and above all models.
    """
    figure = run.headline
    bounds = [b for m in models.values() if (b := interval(m.pooled, figure.key, run.classes))]
    values = [v for m in models.values() if (v := m.pooled.value(figure.key)) is not None]
    if figure.share:
        first = 0.5 if figure.higher_is_better else 0.0
        return Interval(int(min([first, *values, *(b.low for b in bounds)]) * 10) / 10, 1.0)
    axis = values_axis("", [*values, *(b.high for b in bounds)], 0.0, 1.0)
    return Interval(axis.low, axis.high)


def _model_row(run: Run, label: str, model: Evaluation, final: Evaluation, scale: Interval) -> Row:
    value, shared = model.pooled.value(run.headline.key), final.pooled.value(run.headline.key)
    undefined = model is final or value is None or shared is None
    difference = None if undefined else run.headline.better(shared or 0.0, value or 0.0)
    bounds = interval(model.pooled, run.headline.key, run.classes)
    others = [score(model.pooled.value(figure.key)) for figure in _others(run)]
    shown = "" if model is final else signed(difference)
    cells = [score(value), _scale(value, bounds, scale), shown, *others]
    return Row(label, cells, "total" if model is final else None)


def _scale(value: float | None, bounds: Interval | None, scale: Interval) -> Markup | None:
    """A dot with its interval on a line; the number itself stands beside it."""
    if value is None:
        return None

    def x(place: float) -> float:
        return _EDGE + (place - scale.low) / (scale.high - scale.low) * (_SCALE_WIDTH - 2 * _EDGE)

    middle, whisker = _SCALE_HEIGHT / 2, None
    if bounds:
        ends = {"x1": x(bounds.low), "x2": x(bounds.high), "y1": middle, "y2": middle}
        whisker = tag("line", **ends, class_="whisker")
    ticks = _ticks(scale)
    return ornament(
        (_SCALE_WIDTH, _SCALE_HEIGHT),
        joined(tag("line", x1=x(t), x2=x(t), y1=0, y2=_SCALE_HEIGHT, class_="grid") for t in ticks),
        whisker,
        tag("circle", cx=x(value), cy=middle, r=5, class_="dot"),
    )


def _ticks(scale: Interval) -> list[float]:
    """Lines across a scale: tenths of shares, and some ten of anything else."""
    if scale.high == 1.0:
        return [i / 10 for i in range(round(scale.low * 10), 11)]
    return list(values_axis("", [], scale.low, scale.high).ticks)


def _on_own(run: Run, final: Evaluation, baselines: Baselines) -> Markup:
    name = run.headline.spoken
    central = baselines.pooled
    columns = [Column("Site"), Column(f"Test {run.cases}"), Column("Own model"), Column("Shared model")]
    columns += [Column("Gain by federating"), *([Column(_CENTRAL)] if central else [])]
    rows = []
    for site in _by_gain(run, final, baselines.local):
        values = [_own(run, model, site) for model in (baselines.local[site], final)]
        gain = signed(_gain(run, final, baselines.local, site))
        more = [score(_own(run, central, site))] if central else []
        n = number(final.sites[site].n) if site in final.sites else ""
        rows.append(Row(site, [n, *(score(v) for v in values), gain, *more]))
    undefined = [_own(run, m, site) for site in baselines.local for m in (baselines.local[site], final)]
    hidden = len(baselines.local) - len(rows)
    cut = (
        f"The {len(rows)} sites that gain least are shown; {number(hidden)} more are in run.json."
        if hidden
        else None
    )
    caption = f"Tested on each site's own {run.cases}: what a site gains ({name})"
    return table(caption, columns, rows, [cut, _undefined(run, undefined)])


def _by_gain(run: Run, final: Evaluation, local: Mapping[str, Evaluation]) -> list[str]:
    if len(local) <= SHOWN:
        return list(local)

    def rank(site: str) -> float:
        gain = _gain(run, final, local, site)
        return math.inf if gain is None else gain

    return sorted(local, key=rank)[:SHOWN]


def _own(run: Run, model: Evaluation, site: str) -> float | None:
    return model.sites[site].value(run.headline.key) if site in model.sites else None


def _gain(run: Run, final: Evaluation, local: Mapping[str, Evaluation], site: str) -> float | None:
    alone, shared = _own(run, local[site], site), _own(run, final, site)
    return None if alone is None or shared is None else run.headline.better(shared, alone)


def _undefined(run: Run, values: list[float | None]) -> str | None:
    words = f"† Not defined here, for instance the AUROC of a site whose test {run.cases} all have one class."
    if not run.is_classification:
        words = (
            "† Not defined here, because no test case has what it needs: two classes, a finding or an event."
        )
    return words if any(value is None for value in values) else None
