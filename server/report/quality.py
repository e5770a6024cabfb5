"""How the final model errs: confusion matrix, ROC curve and reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from common.page.markup import Markup, joined, tag
from common.page.tables import Column, Row, folded, table
from common.page.wording import capitalised, metric, number, percent
from server.report import marks
from server.report.charts import Chart, Series, drawing, values_axis
from server.report.record import Run
from server.report.scores import Bin, Curve, Scores

_MATRIX_LIMIT = 20
_NARROW = 3


def quality(run: Run) -> Markup | None:
    """The figures, or None in a run that has no final evaluation."""
    if run.final is None:
        return None
    pooled = run.final.pooled
    figures = [_confusion(run, pooled), _roc(run, pooled), _reliability(run, pooled.calibration)]
    drawn = joined(figure for figure in figures if figure)
    return tag("div", drawn, class_="charts") if drawn else None


def _confusion(run: Run, pooled: Scores) -> Markup | None:
    classes = run.classes
    if not pooled.confusion:
        return None
    caption = tag(
        "figcaption", tag("strong", "Confusion matrix"), " (rows: what it is; columns: what the model said)"
    )
    if len(classes) > _MATRIX_LIMIT:
        return tag("figure", caption, tag("p", f"The matrix of {len(classes)} classes is in run.json."))
    columns = [Column("Truth"), *(Column(f"said {name}") for name in classes)]
    rows = [
        Row(name, [_cell(n, sum(line), i == j) for j, n in enumerate(line)])
        for i, (name, line) in enumerate(zip(classes, pooled.confusion, strict=True))
    ]
    words = f"Percentages are shares of a row: of the {run.cases} of a class, how many were called what."
    grid = table(f"Test {run.cases} of all sites by true and predicted class", columns, rows, [words])
    return tag("figure", caption, grid, class_="matrix wide" if len(classes) > _NARROW else "matrix")


def _cell(n: int, total: int, right: bool) -> Markup:
    share = n / total if total else 0.0
    depth = f"heat{round(share * 9)}" + (" right" if right else "")
    return tag("span", number(n), tag("small", percent(share)), class_=depth)


def _roc(run: Run, pooled: Scores) -> Markup | None:
    curves = {name: pooled.roc[name] for name in run.classes if name in pooled.roc}
    if not curves:
        return None
    styles = {name: i for i, name in enumerate(list(curves)[: marks.LIMIT])}
    hidden = len(curves) - len(styles)
    chart = Chart(
        key="roc",
        title=f"ROC curve on the test {run.cases} of all sites",
        described=" ".join(_roc_words(name, curves[name]) for name in styles),
        x=values_axis("false positive rate (1 minus specificity)", [], 0.0, 1.0),
        y=values_axis("true positive rate", [], 0.0, 1.0),
        series=[
            Series(name, tuple(zip(curves[name].fpr, curves[name].tpr, strict=True)), i, markers=False)
            for name, i in styles.items()
        ],
        reference=((0.0, 0.0), (1.0, 1.0)),
    )
    areas = {f"{name}: area {metric(_area(curves[name]))}": i for name, i in styles.items()}
    note = f"{hidden} more classes are in run.json." if hidden else ""
    against = "each class against the others" if len(curves) > 1 else "dotted: a coin toss"
    caption = tag("figcaption", tag("strong", "ROC curve"), f" (up: true positive rate; {against})")
    key = marks.legend(dict(areas), markers=False)
    return tag("figure", caption, drawing(chart), key, tag("p", note, class_="note") if note else None)


def _roc_words(name: str, curve: Curve) -> str:
    """The curve at three points that readers ask for."""
    points = list(zip(curve.fpr, curve.tpr, strict=True))
    levels = {
        level: min((fpr for fpr, tpr in points if tpr >= level), default=1.0) for level in (0.8, 0.9, 0.95)
    }
    words = [
        f"{percent(level)} recall at a false positive rate of {fpr:.2f}" for level, fpr in levels.items()
    ]
    return f"{name}: area {metric(_area(curve))}; {', '.join(words)}."


def _area(curve: Curve) -> float:
    """Area under the drawn points by trapezoids."""
    points = list(zip(curve.fpr, curve.tpr, strict=True))
    return sum((x2 - x1) * (y1 + y2) / 2 for (x1, y1), (x2, y2) in pairwise(points))


def _reliability(run: Run, bins: Sequence[Bin]) -> Markup | None:
    if not bins:
        return None
    lowest = 0.5 if min(b.confidence for b in bins) >= 0.5 else 0.0
    most = max(b.n for b in bins)
    chart = Chart(
        key="reliability",
        title=f"Reliability of the model's confidence on the test {run.cases} of all sites",
        described="; ".join(
            f"sure to {percent(b.confidence)}: right in {percent(b.accuracy)} of {b.n}" for b in bins
        )
        + ".",
        x=values_axis("how sure the model was", [], lowest, 1.0),
        y=values_axis("how often it was right", [b.accuracy for b in bins], lowest, 1.0),
        series=[Series("share right", [(b.confidence, b.accuracy) for b in bins], 0)],
        reference=((lowest, lowest), (1.0, 1.0)),
        bars=[(b.confidence, 0.25 * b.n / most) for b in bins],
    )
    caption = tag("figcaption", tag("strong", "Reliability"), " (up: how often it was right; dotted: ideal)")
    columns = [Column("Mean confidence"), Column("Share right"), Column(capitalised(run.cases))]
    rows = [Row(metric(b.confidence), [metric(b.accuracy), number(b.n)]) for b in bins]
    told = "Below the dotted line the model is surer than it should be."
    words = f"{told} Bars: how many {run.cases} fall there."
    values = folded("The same as a table", table(chart.title, columns, rows))
    return tag("figure", caption, drawing(chart), tag("p", words, class_="note"), values)
