"""Who took part in which round, who did not and why, and what each site's training did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from common.page.markup import Child, Markup, joined, tag
from common.page.tables import Column, Row, table
from common.page.wording import DASH, listing, metric, number, plural
from server.report.cells import SHOWN, per_class
from server.report.record import Round, Run, Site

_STRIP_WIDTH, _STRIP_HEIGHT = 160, 18
_HEIGHTS = {"contributed": 18, "missed": 6, "idle": 2}
_REASONS = 3


def contributions(run: Run) -> Markup | None:
    """The table, or None if no round was begun."""
    if not run.rounds:
        return None
    shown = _shown(run)
    rows = [_row(run, name, run.sites.get(name)) for name in shown]
    return table(
        f"Over {plural(len(run.rounds), 'round')}, site by site",
        _columns(run),
        rows,
        _notes(run, len(_names(run)) - len(shown)),
    )


def _columns(run: Run) -> list[Column]:
    return [
        Column("Site"),
        Column("Rounds over time", words=True),
        Column("Contributed"),
        Column("Missed"),
        Column(f"Training {run.cases}"),
        Column("Mean training loss, first → last"),
        Column("Update norm, mean"),
        Column("Why rounds were missed", words=True),
    ]


def _shown(run: Run) -> list[str]:
    """All sites, or where they are too many those that missed the most rounds."""
    names = _names(run)
    if len(names) <= SHOWN:
        return names
    missed = {name: sum(name in r.missing for r in run.rounds) for name in names}
    return sorted(names, key=lambda name: -missed[name])[:SHOWN]


def _names(run: Run) -> list[str]:
    """The sites of the run, and those that never got as far as describing their data."""
    return list(dict.fromkeys([*run.sites, *(name for r in run.rounds for name in sorted(r.missing))]))


def _row(run: Run, name: str, site: Site | None) -> Row:
    states = [_state(r, name) for r in run.rounds]
    shares = [r.training[name] for r in run.rounds if name in r.training]
    losses = [share.loss for share in shares if share.loss is not None]
    norms = [share.update_norm for share in shares if share.update_norm is not None]
    cells = [
        _strip(name, states),
        f"{number(states.count('contributed'))} of {number(len(states))}",
        number(states.count("missed")),
        _images(run, site),
        f"{metric(losses[0])} → {metric(losses[-1])}" if losses else DASH,
        metric(sum(norms) / len(norms)) if norms else DASH,
        _reasons(run.rounds, name),
    ]
    return Row(name, cells)


def _images(run: Run, site: Site | None) -> Child:
    if site is None:
        return DASH
    return joined([number(site.train_cases), tag("small", per_class(site.train_labels, run.classes))])


def _state(item: Round, name: str) -> str:
    if name in item.contributed:
        return "contributed"
    return "missed" if name in item.missing else "idle"


def _strip(name: str, states: Sequence[str]) -> Markup:
    """The rounds from left to right: a high bar for a contribution, a low one for a missed round."""
    step = _STRIP_WIDTH / len(states)
    bars, start = [], 0
    for state, run in groupby(states):
        length = len(list(run))
        height = _HEIGHTS[state]
        bars.append(
            tag(
                "rect",
                x=start * step,
                y=_STRIP_HEIGHT - height,
                width=length * step,
                height=height,
                class_=state,
            )
        )
        start += length
    missed = states.count("missed")
    words = f"{name}: {plural(states.count('contributed'), 'round')} contributed, {number(missed)} missed"
    return tag(
        "svg", joined(bars), viewBox=f"0 0 {_STRIP_WIDTH} {_STRIP_HEIGHT}", width=_STRIP_WIDTH,
        height=_STRIP_HEIGHT, role="img", aria_label=words, class_="strip",
    )  # fmt: skip


def _reasons(rounds: Iterable[Round], name: str) -> str:
    missed: dict[str, list[int]] = {}
    for item in rounds:
        if name in item.missing:
            missed.setdefault(item.missing[name], []).append(item.number)
    parts = [f"{reason} ({_ranges(numbers)})" for reason, numbers in missed.items()]
    more = f"; {number(len(parts) - _REASONS)} more reasons" if len(parts) > _REASONS else ""
    return "; ".join(parts[:_REASONS]) + more


def _ranges(numbers: Sequence[int]) -> str:
    """``round 3`` or ``rounds 3 to 5, 9``."""
    runs: list[list[int]] = []
    for each in numbers:
        if runs and each == runs[-1][-1] + 1:
            runs[-1].append(each)
        else:
            runs.append([each])
    parts = [f"{r[0]} to {r[-1]}" if len(r) > 1 else str(r[0]) for r in runs]
    return f"round{'s' if len(numbers) > 1 else ''} {', '.join(parts[:6])}{', …' if len(parts) > 6 else ''}"


def _notes(run: Run, hidden: int) -> list[str | None]:
    cut = f"The {SHOWN} sites that missed the most rounds are shown; {number(hidden)} more are in run.json."
    idle = any(_state(r, name) == "idle" for r in run.rounds for name in _names(run))
    private = run.privacy is not None and run.privacy.unit is not None
    asked = " A thin line: the site was not asked in that round." if idle else ""
    return [
        cut if hidden else None,
        f"Rounds over time, left to right: a high bar is a contribution, a low bar a missed round.{asked}",
        "Update norm: how far a round moved the model at that site. An outlier deserves a look.",
        _late(run.rounds),
        "Sites that train privately tell no training loss: there would be no noise on it."
        if private
        else None,
    ]


def _late(rounds: Iterable[Round]) -> str | None:
    """Whose updates came after their round and counted with less weight; None if nobody's did."""
    found: dict[str, list[int]] = {}
    for item in rounds:
        for name, late in item.late.items():
            found.setdefault(name, []).append(late)
    parts = [
        f"{name} {plural(len(each), 'update')}, up to {plural(max(each), 'round')} late"
        for name, each in sorted(found.items())
    ]
    hidden = len(parts) - SHOWN
    more = f"; {number(hidden)} more sites are in run.json" if hidden > 0 else ""
    told = "Late updates count with less weight, in the round in which they came: "
    return f"{told}{'; '.join(parts[:SHOWN])}{more}." if parts else None


def remarks(sites: Mapping[str, Site]) -> Markup | None:
    """What sites said about their data, the same words of several sites once."""
    grouped: dict[str, list[str]] = {}
    for name, site in sites.items():
        for note in site.notes:
            grouped.setdefault(note, []).append(name)
    items = (
        tag("li", tag("strong", listing(names)), f": {note}") for note, names in list(grouped.items())[:SHOWN]
    )
    hidden = len(grouped) - SHOWN
    more = tag("li", f"{number(hidden)} more notes are in run.json.") if hidden > 0 else None
    return tag("ul", joined(items), more) if grouped else None
