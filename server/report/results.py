"""The table of scores: the shared model on the test images of each site and of all together."""

from __future__ import annotations

from collections.abc import Sequence

from common.page.markup import Markup, joined
from common.page.tables import Column, Row, table
from common.page.wording import listing, metric, number
from server.report.cells import SHOWN, per_class, score
from server.report.intervals import interval, spread
from server.report.record import Evaluation, Run, Scores

_METRICS = {
    "auroc": "AUROC",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "f1": "F1",
    "recall": "Recall",
    "precision": "Precision",
    "calibration_error": "Calibration error",
}


def results(run: Run) -> Markup | None:
    """The table, or None if nothing was evaluated."""
    latest = run.latest
    if latest is None:
        return None
    labels = ["Site", "Test images", *_METRICS.values()]
    columns = [*(Column(label) for label in labels), Column("Test images per class", words=True)]
    shown = _shown(run, latest)
    rows = [_row(run, name, latest.sites[name]) for name in shown]
    rows += _spread_rows(latest) if len(shown) < len(latest.sites) else []
    rows.append(_row(run, "All sites together", latest.pooled, "total"))
    return table(_caption(run, latest), columns, rows, _notes(run, latest, shown))


def _shown(run: Run, latest: Evaluation) -> list[str]:
    """All sites, or where they are too many those that the model serves worst."""
    names = list(latest.sites)
    if len(names) <= SHOWN:
        return names

    def rank(name: str) -> float:
        value = latest.sites[name].value(run.headline)
        return 2.0 if value is None else value

    return sorted(names, key=rank)[:SHOWN]


def _row(run: Run, name: str, scores: Scores, kind: str | None = None) -> Row:
    cells = [score(scores.value(key), _bounds(run, scores, key)) for key in _METRICS]
    return Row(name, [number(scores.n), *cells, per_class(scores.labels, run.classes)], kind)


def _bounds(run: Run, scores: Scores, key: str) -> str | None:
    bounds = interval(scores, key, run.classes) if key in ("auroc", "accuracy") else None
    return f"{metric(bounds.low, 2)} to {metric(bounds.high, 2)}" if bounds else None


def _spread_rows(latest: Evaluation) -> list[Row]:
    spreads = [spread(s.value(key) for s in latest.sites.values()) for key in _METRICS]
    levels = {"10 % of all sites are below": "low", "Median of all sites": "median", "10 % are above": "high"}
    return [
        Row(label, ["", *(score(getattr(s, level) if s else None) for s in spreads), ""], "between")
        for label, level in levels.items()
    ]


def _caption(run: Run, latest: Evaluation) -> str:
    when = f"after round {latest.round}" if latest.round is not None else ""
    return f"The shared model {when} on each site's own test images"


def _notes(run: Run, latest: Evaluation, shown: Sequence[str]) -> list[Markup | str | None]:
    hidden = len(latest.sites) - len(shown)
    cut = f"The {len(shown)} sites with the lowest values are shown; {number(hidden)} more are in run.json."
    tested = [latest.pooled, *(latest.sites[name] for name in shown)]
    undefined = any(scores.value(key) is None for scores in tested for key in _METRICS)
    return [
        cut if hidden else None,
        _undefined(latest) if undefined else None,
        _chance(run),
        _counted(run),
    ]


def _undefined(latest: Evaluation) -> str:
    single = [name for name, s in latest.sites.items() if sum(n > 0 for n in s.labels.values()) == 1]
    where = f" All test images have one class at {listing(single)}." if single else ""
    return (
        "† Not defined here. AUROC needs test images of more than one class, recall images of the class in "
        f"question, and precision images that the model put into it.{where}"
    )


def _chance(run: Run) -> Markup:
    sites = run.sites.values()
    repeated = sum(s.test_cases for s in sites) > sum(s.test_patients for s in sites)
    wider = (
        " Some patients have several images, so the true intervals are somewhat wider." if repeated else ""
    )
    return joined(["Small print below a score: its 95 % interval from the number of test images.", wider])


def _counted(run: Run) -> str:
    if len(run.classes) == 2:
        what = f"F1, recall and precision count “{run.classes[1]}” as the finding."
    else:
        what = "F1, recall and precision are means over the classes that occur."
    mixing = (
        " The score over all sites can also reward telling sites apart; read the rows of the sites with it."
    )
    return what + (mixing if len(run.sites) > 1 else "")
