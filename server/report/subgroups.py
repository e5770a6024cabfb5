"""The tables of figures by subgroup: whether the model does as well for women as for men, young as old."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common.metrics import Figure
from common.page.markup import Markup, joined, tag
from common.page.tables import Column, Row, table
from common.page.wording import metric, number
from common.study import Federation
from server.report.cells import score
from server.report.intervals import interval
from server.report.record import Run
from server.report.scores import Object, Scores, scores_of

_MOST = 50
_TITLES = {"sex": "Sex", "age": "Age in years", "scanner": "Scanner"}


@dataclass(frozen=True, slots=True)
class Gap:
    """The groups that a model serves best and worst, by one figure."""

    figure: Figure
    best: tuple[str, float]
    worst: tuple[str, float]

    @property
    def size(self) -> float:
        """How far they are apart."""
        return abs(self.best[1] - self.worst[1])


def gap(figure: Figure, groups: Mapping[str, Scores]) -> Gap | None:
    """The gap between groups, or None where the figure is defined for fewer than two."""
    told = {name: value for name, scores in groups.items() if (value := scores.value(figure.key)) is not None}
    if len(told) < 2:
        return None
    ranked = sorted(told.items(), key=lambda item: figure.better(item[1], 0.0))
    return Gap(figure, ranked[-1], ranked[0])


def groups_of(document: Object) -> dict[str, dict[str, Scores]]:
    """Scores by kind of subgroup and name of the group; empty where the study asked for none."""
    told = (document["final"] or {}).get("subgroups") or {}
    return {kind: {name: scores_of(groups[name]) for name in groups} for kind, groups in told.items()}


def least_told(document: Object) -> int:
    """The fewest patients of a subgroup that a site tells; it stands in no study that leaves it as it is."""
    told: int = document["study"]["federation"].get("min_cell", Federation.model_fields["min_cell"].default)
    return told


def subgroups(run: Run) -> Markup | None:
    """A table a kind, or None in a run without any."""
    found = groups_of(run.document) if run.final is not None else {}
    return joined(_of_kind(run, kind, groups) for kind, groups in found.items()) if found else None


def _of_kind(run: Run, kind: str, groups: Mapping[str, Scores]) -> Markup:
    title = _TITLES.get(kind, kind.capitalize())
    if not groups:
        return tag("p", f"{title}: no site tells subgroups of it. {_rule(run)}", class_="note")
    columns = [Column(title), Column(f"Test {run.cases}"), *(Column(f.title) for f in run.figures)]
    shown = list(groups.items())[:_MOST]
    rows = [_row(run, name, scores) for name, scores in shown]
    return table(f"By {kind}, all sites together", columns, rows, _notes(run, groups, len(shown)))


def _row(run: Run, name: str, scores: Scores) -> Row:
    cells = [score(scores.value(f.key), _bounds(run, scores, f.key)) for f in run.figures]
    return Row(name, [number(scores.n), *cells])


def _bounds(run: Run, scores: Scores, key: str) -> str | None:
    bounds = interval(scores, key, run.classes)
    return f"{metric(bounds.low, 2)} to {metric(bounds.high, 2)}" if bounds else None


def _notes(run: Run, groups: Mapping[str, Scores], shown: int) -> list[str | None]:
    undefined = any(scores.value(f.key) is None for scores in groups.values() for f in run.figures)
    hidden = len(groups) - shown
    return [
        _gap(run, groups),
        _missing(run, groups),
        f"{number(hidden)} more subgroups are in run.json." if hidden else None,
        "† Not defined here: no test case has what it needs." if undefined else None,
    ]


def _gap(run: Run, groups: Mapping[str, Scores]) -> str | None:
    """How far apart the best and the worst group are."""
    found = gap(run.headline, groups)
    if found is None:
        return None
    (best, most), (worst, least) = found.best, found.worst
    return (
        f"{run.headline.title}: best for “{best}” ({metric(most)}), worst for “{worst}” ({metric(least)}), "
        f"a gap of {metric(found.size)}. Where intervals overlap, chance alone may have made it."
    )


def _missing(run: Run, groups: Mapping[str, Scores]) -> str | None:
    """That some cases stand in no row, and why."""
    if run.final is None:
        return None
    left = run.final.pooled.n - sum(scores.n for scores in groups.values())
    if left <= 0:
        return None
    return f"{number(left)} of {number(run.final.pooled.n)} test {run.cases} are in no row. {_rule(run)}"


def _rule(run: Run) -> str:
    least = number(least_told(run.document))
    return (
        f"A site tells no subgroup of fewer than {least} patients, and keeps back others that would "
        "give such a one away."
    )
