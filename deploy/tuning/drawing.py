"""What a search looks like: a line for each trial through the values that it tried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from common.page.drawings import drawing, ornament
from common.page.markup import Markup, tag
from deploy.tuning.search import named
from deploy.tuning.trial import Trial
from deploy.tuning.tuned import Tuned, short_names, shown

WIDTH, HEIGHT = 900.0, 300.0
LEFT, TOP, BOTTOM = 90.0, 40.0, 30.0
BAR = 160.0
MOST_AXES = 8
LONGEST = 16


def bar(share: float) -> Markup:
    """A bar as long as a share of one."""
    return ornament(
        (BAR, 10), tag("rect", x=0.0, y=0.0, width=max(1.0, BAR * share), height=10.0), kind="bar"
    )


def courses(tuned: Tuned) -> Markup | None:
    """Parallel coordinates: an axis for each key and one for the figure; the best trial stands out.

    Args:
        tuned: The search; nothing is drawn of fewer than two trials that came to a figure, or of many keys.
    """
    ran = [trial for trial in tuned.all if trial.score is not None]
    if len(ran) < 2 or len(tuned.keys) + 1 > MOST_AXES:
        return None
    names = short_names(tuned.keys)
    scales = [_Scale([trial.values[key] for trial in ran]) for key in tuned.keys]
    scales.append(_Scale([trial.score.value for trial in ran if trial.score]))
    titles = [*(names[key] for key in tuned.keys), tuned.figure.title]
    width = (WIDTH - 2 * LEFT) / (len(scales) - 1)
    across = [LEFT + width * index for index in range(len(scales))]
    best = tuned.best
    ordered = sorted(ran, key=lambda trial: trial is best)  # the best is drawn above the others
    return drawing(
        "courses",
        "What each trial tried, and what it came to",
        f"A line for each of {len(ran)} trials; the best one is the strongest.",
        (WIDTH, HEIGHT),
        *(_line(trial, tuned, scales, across, trial is best) for trial in ordered),
        *(_axis(title, scale, x) for title, scale, x in zip(titles, scales, across, strict=True)),
    )


class _Scale:
    """Where a value stands on an axis, from 0 below to 1 above."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        distinct = {named(value): value for value in values}
        self._values = sorted(distinct.values()) if self._numeric else [distinct[n] for n in sorted(distinct)]
        # A range over more than a decade was drawn in its logarithm, as a rule.
        self._log = self._numeric and self._values[0] > 0 and self._values[-1] / self._values[0] > 10

    def place(self, value: Any) -> float:
        """In [0, 1]."""
        if len(self._values) == 1:
            return 0.5
        if not self._numeric:
            return self._values.index(value) / (len(self._values) - 1)
        low, high, at = (self._scaled(v) for v in (self._values[0], self._values[-1], value))
        return (at - low) / (high - low)

    @property
    def marks(self) -> list[tuple[str, float]]:
        """Labels and where they stand: of numbers the ends, of others all."""
        shown_values = [self._values[0], self._values[-1]] if self._numeric else self._values
        return list({_short(shown(v)): (_short(shown(v)), self.place(v)) for v in shown_values}.values())

    def _scaled(self, value: float) -> float:
        return math.log(value) if self._log else value


def _line(trial: Trial, tuned: Tuned, scales: list[_Scale], across: list[float], is_best: bool) -> Markup:
    assert trial.score is not None  # noqa: S101  as trials are chosen
    values = [*(trial.values[key] for key in tuned.keys), trial.score.value]
    places = zip(values, scales, across, strict=True)
    points = " ".join(f"{x:.1f},{_down(scale.place(value)):.1f}" for value, scale, x in places)
    return tag("polyline", points=points, class_="course best" if is_best else "course")


def _axis(title: str, scale: _Scale, x: float) -> Markup:
    labels = (tag("text", text, x=x + 6, y=_down(place) + 4) for text, place in scale.marks)
    return tag(
        "g",
        tag("line", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM, class_="rule"),
        tag("text", _short(title, 22), x=x, y=TOP - 18, text_anchor="middle", class_="title"),
        *labels,
    )


def _down(place: float) -> float:
    """From a place on an axis to the drawing's units."""
    return TOP + (1 - place) * (HEIGHT - BOTTOM - TOP)


def _short(text: str, longest: int = LONGEST) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
