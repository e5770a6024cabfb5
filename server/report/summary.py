"""The top of the page: how the run ended, what came of it in plain words, and the key figures."""

from __future__ import annotations

from common.metrics import Figure
from common.page.header import KeyFigure
from common.page.markup import Markup, prose, tag
from common.page.wording import (
    capitalised,
    duration,
    listing,
    metric,
    number,
    plural,
    spelled,
)
from server.report.intervals import interval
from server.report.record import Run
from server.report.scores import Evaluation, Object

_CELLS = {
    "gru": "a GRU",
    "lstm": "an LSTM",
    "rnn": "a simple recurrent network",
    "gru_d": "a GRU-D",
    "conv_gru": "a convolutional GRU",
    "conv_lstm": "a convolutional LSTM",
}
_FEATURES = {"cnn": " on CNN features", "hog": " on histograms of gradients"}
_STOPPED = {
    "failed": "This run failed",
    "interrupted": "This run was interrupted",
    "running": "This run is not finished",
}


def banner(run: Run) -> Markup | None:
    """What went wrong and what to do about it, or None if the run completed."""
    if run.status not in _STOPPED:
        return None
    done, planned = len(run.rounds), plural(run.planned_rounds, "round")
    heading = f"{_STOPPED[run.status]} " + (
        f"after {done} of {planned}" if done else "before its first round ended"
    )
    shown = tag("p", "Below is what it had recorded until then.", class_="note") if done else None
    return tag(
        "section",
        tag("h2", heading, id="status"),
        tag("p", prose(run.error.message), " ", tag("code", run.error.code)) if run.error else None,
        tag("p", tag("strong", "What to do: "), prose(run.error.hint))
        if run.error and run.error.hint
        else None,
        shown,
        class_="banner",
        aria_labelledby="status",
    )


def lede(run: Run) -> str:
    """The run in one to three sentences."""
    model = _CELLS.get(_model(run)["cell"], "a model")
    model += _FEATURES.get(_model(run)["encoder"], "")
    if run.status == "completed":
        did = f"{_who(run)} trained {model}{_together(run)} for {plural(len(run.rounds), 'round')}"
        return f"{did}{_kept(run)}; {_reached(run)} {_compared(run)}".strip()
    if not run.rounds:
        return f"{_sites(len(run.sites))} set out to train {model}{_together(run)}; no round was finished."
    did = f"{_who(run)} took part in training {model}{_together(run)}."
    return f"{did} {capitalised(_reached(run))}"


def figures(run: Run) -> list[KeyFigure]:
    """The few numbers to remember."""
    return [*_score_figures(run), *_size_figures(run)]


def model_words(run: Run) -> str:
    """The model in words, such as ``GRU with 128 hidden units in 1 layer, mean over time``."""
    model = _model(run)
    both = "bidirectional " if model["bidirectional"] else ""
    stack = f"{both}{str(model['cell']).upper()}, {plural(model['hidden'], 'hidden unit')}"
    encoder = "" if model["encoder"] == "none" else f", after the encoder {model['encoder']}"
    layered = f"{stack}, {plural(model['layers'], 'layer')}{encoder}"
    # Other tasks say something of every step, and pool none.
    return f"{layered}; pooling over time: {model['pooling']}" if run.task == "classification" else layered


def _model(run: Run) -> Object:
    model: Object = run.document["study"]["model"]
    return model


def _sites(sites: int) -> str:
    return capitalised(f"{spelled(sites)} {'site' if sites == 1 else 'sites'}")


def _who(run: Run) -> str:
    took_part = len(frozenset().union(*(r.contributed for r in run.rounds)))
    everyone = _sites(len(run.sites))
    if took_part == len(run.sites):
        return everyone
    return capitalised(f"{spelled(took_part) if took_part else 'none'} of {everyone.lower()}")


def _kept(run: Run) -> str:
    """Of which round the model is, where it is not that of the last one: with patience the best is kept."""
    kept = run.final.round if run.final else None
    return f" and kept the model of round {kept}" if kept and kept < len(run.rounds) else ""


def _together(run: Run) -> str:
    return " together" if len(run.sites) > 1 else ""


def _reached(run: Run) -> str:
    if run.latest is None:
        return "no evaluation was recorded."
    name, pooled = run.headline.spoken, run.latest.pooled
    tested = f"on {plural(pooled.n, f'test {run.case}')}" + (" of all sites" if len(run.sites) > 1 else "")
    value = metric(pooled.value(run.headline.key), 2)
    if run.final:
        return f"{tested} the shared model's {name} is {value}."
    return f"{tested} the shared model's {name} was {value} after round {run.latest.round}."


def _compared(run: Run) -> str:
    if run.baselines is None:
        return ""
    alone = _range([model.pooled.value(run.headline.key) for model in run.baselines.local.values()])
    first = f"Alone, each site's own model reached {alone}" if alone else ""
    pooled = run.baselines.pooled
    value = pooled.pooled.value(run.headline.key) if pooled else None
    second = (
        f"all data pooled in one place would have reached {metric(value, 2)}" if value is not None else ""
    )
    sentence = capitalised("; ".join(filter(None, [first, second])))
    return f"{sentence}." if sentence else ""


def _range(values: list[float | None]) -> str:
    known = sorted(metric(value, 2) for value in values if value is not None)
    return " to ".join(dict.fromkeys([known[0], known[-1]])) if known else ""


def _score_figures(run: Run) -> list[KeyFigure]:
    latest = run.latest
    if latest is None:
        return []
    shown = list(dict.fromkeys([run.headline, *run.figures[1:2]]))
    found = [_with_interval(run, latest, figure) for figure in shown]
    return [*found, *_worst_site(run.headline, latest)]


def _worst_site(figure: Figure, latest: Evaluation) -> list[KeyFigure]:
    """The site that the model serves worst, where there are several."""
    told = {name: v for name, s in latest.sites.items() if (v := s.value(figure.key)) is not None}
    if not told or len(latest.sites) < 2:
        return []
    site = min(told, key=lambda name: figure.better(told[name], 0.0))
    worst = "Lowest" if figure.higher_is_better else "Highest"
    return [KeyFigure(f"{worst} {figure.spoken} of a site", metric(told[site]), f"at {site}")]


def _with_interval(run: Run, latest: Evaluation, figure: Figure) -> KeyFigure:
    bounds = interval(latest.pooled, figure.key, run.classes)
    small = f"95 % interval {metric(bounds.low, 2)} to {metric(bounds.high, 2)}" if bounds else ""
    return KeyFigure(f"{figure.title}, all sites", metric(latest.pooled.value(figure.key)), small)


def _size_figures(run: Run) -> list[KeyFigure]:
    sites = run.sites.values()
    return [
        KeyFigure("Sites", number(len(sites)), listing(list(run.sites), 3) if len(sites) <= 4 else ""),
        KeyFigure("Rounds", number(len(run.rounds)), _planned(run)),
        _counted(run, "Training", sum(s.train_cases for s in sites), sum(s.train_patients for s in sites)),
        _counted(run, "Test", sum(s.test_cases for s in sites), sum(s.test_patients for s in sites)),
        KeyFigure("Duration", duration(run.document["duration_s"])),
    ]


def _planned(run: Run) -> str:
    return f"of {number(run.planned_rounds)} planned" if len(run.rounds) != run.planned_rounds else ""


def _counted(run: Run, use: str, cases: int, patients: int) -> KeyFigure:
    return KeyFigure(f"{use} {run.cases}", number(cases), f"of {plural(patients, 'patient')}")
