"""The section of the page on what has changed since the reference."""

from __future__ import annotations

from client.cohorts.quality.assessment import Quality
from client.cohorts.quality.charts import brightness_chart
from client.cohorts.quality.drift import Level, Shift
from client.cohorts.quality.reference import Reference
from client.cohorts.quality.verdict import THINGS
from common.page.markup import Markup, joined, tag
from common.page.tables import Column, Row, table
from common.page.wording import DASH, metric, percent, plural

_LEVELS = {
    Level.steady: "steady",
    Level.uncertain: "too few patients to tell",
    Level.moved: "changed somewhat",
    Level.far: "changed much",
}


def changes(quality: Quality) -> Markup | None:
    """How far the cohort has moved from the reference, or None without one."""
    if quality.drift is None:
        return None
    then = quality.drift.then
    words = (
        f"Compared with {plural(then.cases, 'earlier case')} of {plural(then.patients, 'patient')}. PSI "
        "below 0.1 is commonly read as no change, above 0.25 as a great one; KS is the farthest that two "
        "cumulated histograms lie apart. By chance alone a value stays below the number beside it in 19 of "
        "20 comparisons of so many patients."
    )
    columns = (
        Column("Thing"), Column("Measure"), Column("Value"), Column("By chance"), Column("Verdict", True),
        Column("What moved most: then, now", True),
    )  # fmt: skip
    rows = [
        Row(THINGS[s.what], [s.measure, metric(s.value), metric(s.chance), _LEVELS[s.level], _most(s)])
        for s in quality.drift.shifts
    ]
    return joined([
        tag("p", words, class_="note"),
        table("What has changed", columns, rows),
        _chart(quality.reference, then),
    ])  # fmt: skip


def _most(shift: Shift) -> str:
    moves = (f"{name}: {percent(then)}, {percent(now)}" for name, then, now in shift.most)
    return "; ".join(moves) or DASH


def _chart(now: Reference, then: Reference) -> Markup | None:
    if not now.pictured or not then.pictured:
        return None
    shares = [[total / r.pictured for total in r.brightness] for r in (now, then)]
    drawn = brightness_chart("drift", "this cohort", shares[0], shares[1], "Reference")
    caption = tag("figcaption", tag("strong", "Brightness"), " (area: this cohort; line: the reference)")
    return tag("div", tag("figure", caption, drawn), class_="charts")
