"""Line charts as inline SVG: scales, axes, series, bands and their text alternatives.

Nothing here knows what is drawn. Colours come from the page's style sheet, so one chart serves light,
dark and paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log10
from typing import TypeVar

from common.page import drawings
from common.page.markup import Markup, joined, tag
from server.report import marks

WIDTH, HEIGHT = 360, 262
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 350.0, 10.0, 222.0
_MAX_POINTS = 200
_MARKERS = 12

Point = tuple[float, float | None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values with its ticks and the words below or beside it."""

    label: str
    low: float
    high: float
    ticks: Sequence[float]
    digits: int = 0

    def share(self, value: float) -> float:
        """Where a value lies: 0 at the low end, 1 at the high end."""
        return (min(max(value, self.low), self.high) - self.low) / ((self.high - self.low) or 1.0)


@dataclass(frozen=True, slots=True)
class Series:
    """A line; ``style`` numbers its look, None is the line of all sites together."""

    name: str
    points: Sequence[Point]
    style: int | None = None
    markers: bool = True


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart's content.

    Attributes:
        key: Unique in the page; ids derive from it.
        described: What a person who cannot see the chart should know of it.
        band: Points ``(x, low, high)`` of the shaded area.
        reference: A thin line to compare with, as two points, and its name.
        bars: Columns standing on the x axis, as ``(x, height)`` with the height from 0 to 1.
    """

    key: str
    title: str
    described: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    band: Sequence[tuple[float, float, float]] = ()
    reference: tuple[Point, Point] | None = None
    bars: Sequence[tuple[float, float]] = field(default=())


def values_axis(label: str, values: Iterable[float], low: float, high: float) -> Axis:
    """An axis from ``low`` to ``high``, widened in round steps until every value fits."""
    known = list(values)
    low, high = min([low, *known]), max([high, *known])
    step = _round_step((high - low) / 5)
    low, high = floor(low / step + 1e-9) * step, ceil(high / step - 1e-9) * step
    ticks = [low + step * i for i in range(round((high - low) / step) + 1)]
    return Axis(label, low, high, ticks, max(0, -floor(log10(step) + 1e-9)))


def rounds_axis(first: int, last: int) -> Axis:
    """An axis of round numbers, with ticks at whole rounds only."""
    step = max(1, round(_round_step(max(last - first, 1) / 6)))
    ticks = [first, *(tick for tick in range(step, last + 1, step) if tick - first >= step * 0.5)]
    return Axis("round", first, last, ticks)


def drawing(chart: Chart) -> Markup:
    """The chart as an SVG image with a title and a description."""
    return drawings.drawing(
        chart.key,
        chart.title,
        chart.described,
        (WIDTH, HEIGHT),
        _axes(chart),
        joined(_bar(chart, x, height) for x, height in chart.bars),
        _reference(chart),
        _band(chart),
        # The line of all sites together lies on top.
        joined(_series(chart, s) for s in sorted(chart.series, key=lambda s: s.style is None)),
    )


def thinned(items: Sequence[T], limit: int = _MAX_POINTS) -> list[T]:
    """At most ``limit`` items, evenly taken, with the first and the last."""
    if len(items) <= limit:
        return list(items)
    return [items[round(i * (len(items) - 1) / (limit - 1))] for i in range(limit)]


def _place(chart: Chart, x: float, y: float) -> tuple[float, float]:
    across = _LEFT + chart.x.share(x) * (_RIGHT - _LEFT)
    return across, _BOTTOM - chart.y.share(y) * (_BOTTOM - _TOP)


def _axes(chart: Chart) -> Markup:
    parts: list[Markup] = []
    for tick in chart.y.ticks:
        _, y = _place(chart, chart.x.low, tick)
        parts.append(tag("line", x1=_LEFT, x2=_RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", f"{tick:.{chart.y.digits}f}", x=_LEFT - 6, y=y + 4, text_anchor="end"))
    for tick in chart.x.ticks:
        x, _ = _place(chart, tick, chart.y.low)
        parts.append(tag("line", x1=x, x2=x, y1=_BOTTOM, y2=_BOTTOM + 4, class_="rule"))
        parts.append(tag("text", f"{tick:.{chart.x.digits}f}", x=x, y=_BOTTOM + 17, text_anchor="middle"))
    parts.append(tag("line", x1=_LEFT, x2=_RIGHT, y1=_BOTTOM, y2=_BOTTOM, class_="rule"))
    middle = (_LEFT + _RIGHT) / 2
    parts.append(tag("text", chart.x.label, x=middle, y=HEIGHT - 6, text_anchor="middle", class_="axis"))
    return tag("g", joined(parts), aria_hidden="true")


def _series(chart: Chart, series: Series) -> Markup:
    points = thinned(series.points)
    path = "".join(_strokes(chart, points))
    known = [(x, y) for x, y in points if y is not None]
    marked = thinned(known, _MARKERS) if series.markers or len(known) == 1 else []
    dots = (marks.marker(*_place(chart, x, y), series.style) for x, y in marked)
    line = marks.line(path, series.style) if path else None
    return tag("g", line, joined(dots), class_=marks.hue(series.style))


def _strokes(chart: Chart, points: Sequence[Point]) -> Iterable[str]:
    """Path commands; a value that is undefined lifts the pen."""
    pen = "M"
    for x, y in points:
        if y is None:
            pen = "M"
            continue
        across, down = _place(chart, x, y)
        yield f"{pen}{across:.1f} {down:.1f}"
        pen = "L"


def _band(chart: Chart) -> Markup | None:
    if not chart.band:
        return None
    points = thinned(chart.band)
    edge = [_place(chart, x, high) for x, _, high in points]
    edge += [_place(chart, x, low) for x, low, _ in reversed(points)]
    return tag("polygon", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in edge), class_="band")


def _reference(chart: Chart) -> Markup | None:
    if chart.reference is None:
        return None
    (x1, y1), (x2, y2) = (_place(chart, x, y or 0.0) for x, y in chart.reference)
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_="reference")


def _bar(chart: Chart, x: float, height: float) -> Markup:
    across, _ = _place(chart, x, chart.y.low)
    tall = height * (_BOTTOM - _TOP)
    return tag("rect", x=across - 4, y=_BOTTOM - tall, width=8, height=tall, class_="bar")


def _round_step(rough: float) -> float:
    """The least of 1, 2, 5 times a power of ten that is not below ``rough``."""
    power = 10.0 ** floor(log10(rough)) if rough > 0 else 0.1
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
