"""A search as a page: the best study, all trials, what mattered, and how far to trust it."""

from __future__ import annotations

from collections.abc import Iterator

from common.page.document import document, section
from common.page.header import KeyFigure, Standing, badge, header, key_figures
from common.page.markup import Markup, joined, tag
from common.page.tables import Column, Row, table
from common.page.wording import DASH, duration, metric, percent, plural, signed
from deploy.tuning.drawing import bar, courses
from deploy.tuning.spending import told
from deploy.tuning.trial import GIVEN, Trial
from deploy.tuning.tuned import Tuned, short_names, shown, value_at

_METHODS = {"grid": "every combination", "random": "values at random", "tpe": "values that looked promising"}


def render(tuned: Tuned) -> str:
    """The search as one self-contained HTML document."""
    name = tuned.study.study.name
    return document(
        f"{name}: tuning",
        _header(tuned),
        (
            section("best", "The best study", _differences(tuned)),
            section("trust", "How far to trust it", _trust(tuned)),
            section("mattered", "What mattered", _mattered(tuned)),
            section("trials", "Trials", _trials(tuned)),
        ),
        ("Trials are simulations on this machine. They do not show that a model is safe in care.",),
        skip="Skip to the best study",
        package=__package__,
    )


def _header(tuned: Tuned) -> Markup:
    best, done = tuned.best, len(tuned.trials)
    complete = done >= tuned.wanted
    status = badge(
        "complete" if complete else f"{done} of {tuned.wanted} trials",
        Standing.good if complete else Standing.warn,
    )
    figure = tuned.figure
    lede = (
        f"{plural(done, 'trial')} tried {_METHODS[tuned.method]} for {plural(len(tuned.keys), 'key')}. "
        f"Each is compared by {figure.title} on training patients that it did not train on, "
        f"in {plural(tuned.folds, 'fold')}."
    )
    boxes = []
    if best and best.score:
        boxes = [
            KeyFigure(
                f"Best {figure.title}",
                metric(best.score.value),
                "as given" if best.number == GIVEN else best.name,
            ),
            KeyFigure("Spread over folds", f"±{metric(best.score.spread)}", "standard deviation"),
            KeyFigure("Luck of the best", metric(tuned.luck), "by which it may look better than it is"),
            KeyFigure("Test split", _asked(tuned), "was asked"),
        ]
    return header("Consilium tuning", status, tuned.study.study.name, lede, key_figures(boxes))


def _asked(tuned: Tuned) -> str:
    return "never" if not tuned.tested else "once" if len(tuned.tested) == 1 else f"{len(tuned.tested)} times"


def _differences(tuned: Tuned) -> Markup | None:
    if tuned.best is None or tuned.best_study is None:
        return None
    columns = [Column("Key"), Column("Given", words=True), Column("Best", words=True)]
    given = tuned.study.model_dump(mode="json")
    best = tuned.best_study.model_dump(mode="json")
    rows = [Row(key, (shown(value_at(given, key)), shown(value_at(best, key)))) for key in tuned.keys]
    notes = ["best.toml is the whole study, ready to be run."]
    return table("What the search changed", columns, rows, notes)


def _improvement(tuned: Tuned) -> str | None:
    """The best trial beside the given study, on the same held-out patients."""
    best, given = tuned.best, tuned.given
    if best is None or best.score is None or given is None:
        return None
    if best is given:
        return "No trial came out better than the study as it is given, so the best study is that one."
    before = given.score.value if given.score else None
    return f"As it is given, the study came to {tuned.figure.title} {metric(before)} in the same folds."


def _trust(tuned: Tuned) -> Markup | None:
    return joined(tag("p", sentence) for sentence in sentences(tuned)) if tuned.best else None


def sentences(tuned: Tuned) -> Iterator[str]:
    """What to know before the best figure is believed."""
    ran, figure, compared = len(tuned.ran), tuned.figure, _improvement(tuned)
    if compared:
        yield compared
    better = "high" if figure.higher_is_better else "low"
    if ran > 1:
        yield (
            f"The best of {ran} trials looks better than it is, since luck helped to choose it. If all {ran} "
            f"were equally good, the best would come out too {better} by about {metric(tuned.luck)}, at most."
        )
    if not tuned.tested:
        yield (
            "The test split had no part in this, and was never asked. "
            "Run best.toml once to see how it does there."
        )
    for asked in tuned.tested:
        value = metric(asked["value"])
        which = "given study" if asked["trial"] == GIVEN else f"study of trial {asked['trial']}"
        yield f"On the test split the {which} came to {figure.title} {value}."
    if len(tuned.tested) > 1:
        yield f"The test split was asked {len(tuned.tested)} times: its figures are optimistic by now, too."
    if tuned.spending:
        yield (
            "Nothing was booked in a ledger, and the noise was seeded. If each trial were a study of its "
            "own, it would cost the patients:"
        )
        yield from (told(each) for each in tuned.spending)


def _mattered(tuned: Tuned) -> Markup | None:
    parts = [courses(tuned), _importance(tuned)]
    return joined(parts) if any(parts) else None


def _importance(tuned: Tuned) -> Markup | None:
    if not tuned.importance:
        return None
    rows = [
        Row(key, (percent(share), bar(share)))
        for key, share in sorted(tuned.importance.items(), key=lambda item: -item[1])
    ]
    columns = [Column("Key"), Column("Share"), Column("", words=True)]
    notes = (
        "How much each key sets the best tenth of the trials apart from the others (PED-ANOVA, Watanabe et "
        "al. 2023). With few trials this is a hint, and no more.",
    )
    return table("Importance", columns, rows, notes)


def _trials(tuned: Tuned) -> Markup | None:
    if not tuned.all:
        return None
    names, best = short_names(tuned.keys), tuned.best
    columns = [
        Column("Trial"),
        Column(tuned.figure.title),
        Column("Spread"),
        Column("To the best"),
        *(Column(names[key]) for key in tuned.keys),
        Column("Time"),
        Column("", words=True),
    ]
    sign = -1 if tuned.figure.higher_is_better else 1
    ordered = sorted(tuned.all, key=lambda t: (t.score is None, sign * t.score.value if t.score else 0))
    rows = [
        Row(trial.name.removeprefix("trial "), _cells(trial, tuned), "best" if trial is best else None)
        for trial in ordered
    ]
    return table("All trials, the best first", columns, rows)


def _cells(trial: Trial, tuned: Tuned) -> list[str]:
    best, score = tuned.best, trial.score
    away = score.value - best.score.value if score and best and best.score else None
    return [
        metric(score.value) if score else DASH,
        f"±{metric(score.spread)}" if score else DASH,
        signed(away),
        *(shown(trial.values[key]) for key in tuned.keys),
        duration(trial.duration_s),
        trial.remark if score is not None else f"{trial.state}: {trial.remark}",
    ]
