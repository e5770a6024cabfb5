"""What the run promises its patients and sites, what that cost, and what it does not cover."""

from __future__ import annotations

from collections.abc import Sequence

from common.page.header import KeyFigure
from common.page.markup import Markup, joined, tag
from common.page.tables import Column, Row, table
from common.page.wording import DASH, metric, number, plain, plural
from server.report.cells import SHOWN
from server.report.record import Privacy, Run, Share, SiteGuarantee
from server.report.spending import epsilon_words, spending

_REFUSED = "budget-spent"
_UNITS = {
    "patient": "any one patient, with all of the patient's images, was among the training cases",
    "image": "any one image was among the training cases (of a patient with several, it may tell more)",
}


def warning(run: Run) -> Markup | None:
    """That a simulation's noise is known, or None."""
    if run.privacy is None or not run.privacy.seeded:
        return None
    return tag(
        "section",
        tag("h2", "This model is not private", id="seeded"),
        tag(
            "p",
            "The noise of this simulation was drawn from a known seed, and whoever has the seed can take it "
            "off again. What follows shows what privacy would cost, and protects nobody: train for real to "
            "have a model that does.",
        ),
        class_="banner",
        aria_labelledby="seeded",
    )


def spent_figures(run: Run) -> list[KeyFigure]:
    """The epsilons to remember, in a run that has them."""
    most = _largest(run)
    figures = (
        [KeyFigure("Epsilon of a site, largest", epsilon_words(most[1]), f"at {most[0]}")] if most else []
    )
    of_sites = run.privacy.sites if run.privacy else None
    if of_sites is not None and of_sites.epsilon:
        after = f"after {plural(len(of_sites.epsilon), 'round')}"
        figures.append(KeyFigure("Epsilon of whole sites", epsilon_words(of_sites.epsilon[-1]), after))
    return figures


def privacy(run: Run) -> Markup | None:
    """Promise, exceptions, charts and table, or None in a run without privacy."""
    if run.privacy is None:
        return None
    promises = (_of_training(run, run.privacy), _of_sites(run, run.privacy.sites))
    return joined(
        [
            *(tag("p", sentence) for sentence in promises if sentence),
            _exceptions(run.privacy),
            spending(run),
            _table(run) if run.privacy.unit else None,
        ]
    )


def _of_training(run: Run, given: Privacy) -> str | None:
    if given.unit is None:
        return None
    promise = (
        "Each site trained with differential privacy, which bounds how much the shared model can tell of "
        f"whether {_UNITS[given.unit]}. The bound is ε: the smaller, the less."
    )
    most = _largest(run)
    return f"{promise} Largest of a site so far: {epsilon_words(most[1])}, at {most[0]}." if most else promise


def _of_sites(run: Run, given: SiteGuarantee | None) -> str | None:
    if given is None:
        return None
    noise = "" if given.noise_multiplier is None else f" of {plain(given.noise_multiplier)} times that length"
    asked = "" if given.sample_rate == 1 else f" Each site was asked with a chance of {given.sample_rate:g}."
    how = (
        f"The coordinator cut every site's update to a length of {plain(given.clip_norm)} and added noise"
        f"{noise} to their sum, divided by the {plural(given.planned_sites, 'site')} that were planned, "
        f"whoever answered.{asked}"
    )
    if not given.epsilon:
        return f"{how} That bounds how much the shared models can tell of whether a whole site took part."
    after, epsilon = plural(len(given.epsilon), "round"), given.epsilon[-1]
    if epsilon is None:
        return f"{how} That is too little noise: after {after} no bound is known for what the models tell."
    cost = f"after {after}, ε {epsilon_words(epsilon)} at δ {_delta(given.target_delta)}"
    return f"{how} That bounds how much the shared models can tell of whether a whole site took part: {cost}."


def _exceptions(given: Privacy) -> Markup | None:
    if not given.exceptions:
        return None
    items = joined(tag("li", sentence) for sentence in given.exceptions)
    return joined([tag("p", tag("strong", "Not protected, or without noise:")), tag("ul", items)])


def _table(run: Run) -> Markup | None:
    last = _last(run)
    names = list(dict.fromkeys([*run.sites, *last]))
    if not names:
        return None
    shown = names
    if len(names) > SHOWN:
        shown = sorted(names, key=lambda name: -_epsilon(last.get(name)))[:SHOWN]
    adapted = any(share.clip_norm is not None for share in last.values())
    labels = ["Site", "ε so far", "δ", "Rounds contributed", "Rounds refused: budget spent"]
    columns = [Column(label) for label in [*labels, *(["Clips at"] if adapted else [])]]
    rows = [_row(run, name, last.get(name), adapted) for name in shown]
    return table(
        "What each site has spent on this study", columns, rows, _notes(len(names) - len(shown), adapted)
    )


def _row(run: Run, name: str, share: Share | None, adapted: bool) -> Row:
    contributed = sum(name in item.contributed for item in run.rounds)
    refused = sum(item.missing.get(name, "").startswith(_REFUSED) for item in run.rounds)
    cells = [
        DASH if share is None else epsilon_words(share.epsilon),
        DASH if share is None else _delta(share.target_delta),
        f"{number(contributed)} of {number(len(run.rounds))}",
        number(refused),
    ]
    return Row(name, [*cells, metric(share.clip_norm if share else None)] if adapted else cells)


def _notes(hidden: int, adapted: bool) -> Sequence[str | None]:
    return [
        f"The {SHOWN} sites that have spent most are shown; {number(hidden)} more are in run.json."
        if hidden
        else None,
        "ε and δ are for this study alone. What a site's patients have spent in all studies stands in the "
        "ledger of the hospital.",
        "Clips at: the length that the gradient of a unit is cut to next; it follows the gradients, under "
        "noise that ε includes."
        if adapted
        else None,
    ]


def _largest(run: Run) -> tuple[str, float] | None:
    """The site that has spent most, and how much; None where none has."""
    spent = [(name, share.epsilon) for name, share in _last(run).items() if share.epsilon is not None]
    return max(spent, key=lambda item: item[1], default=None)


def _last(run: Run) -> dict[str, Share]:
    """What each site that contributed said last."""
    return {name: share for item in run.rounds for name, share in item.training.items()}


def _epsilon(share: Share | None) -> float:
    return 0.0 if share is None else share.epsilon or 0.0


def _delta(value: float | None) -> str:
    """``0.0014``, and ``1e-5`` of a value with many zeros."""
    return DASH if value is None else plain(value).replace("e-0", "e-")
