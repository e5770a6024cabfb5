"""How the run came about: enough to repeat it and to tell its files from others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from common.page.markup import Child, Markup, joined, tag
from common.page.wording import duration, moment, number, plural
from server.report.measures import measures
from server.report.record import Run
from server.report.stopping import stopping_words
from server.report.summary import model_words

_ENGINES = {
    "inprocess": "all sites simulated in one process on one machine",
    "ray": "all sites simulated by Flower's simulation runtime, Ray",
    "superlink": "Flower's SuperLink, with a SuperNode for each site",
    "link": "Consilium's link, gRPC over mutual TLS",
}


def provenance(run: Run) -> Markup:
    """Names and values of everything that made this run what it is."""
    facts = {**_what(run), **_where(run), **_traces(run)}
    rows = (
        tag("tr", tag("th", name, scope="row"), tag("td", value, class_="words"))
        for name, value in facts.items()
        if value
    )
    caption = tag("caption", tag("span", "How the run came about"))
    return tag("div", tag("table", caption, tag("tbody", joined(rows))), class_="scroll facts")


def _what(run: Run) -> dict[str, Child]:
    study = run.document["study"]
    training, federation = study["training"], study["federation"]
    strategy = federation["strategy"]
    options = ", ".join(f"{key} {value}" for key, value in strategy.items() if key != "name")
    learning = f"{training['optimizer']}, learning rate {training['learning_rate']:g}"
    batches = f"batch size {number(training['batch_size'])}, {_extent(training)} a round"
    return {
        "Model": model_words(run),
        "Training at a site": f"{learning}, {batches}",
        "Measures": "; ".join(measures(study)),
        "Strategy": strategy["name"] + (f" ({options})" if options else ""),
        "Rounds": f"{number(len(run.rounds))} of {number(run.planned_rounds)}",
        "Validation": stopping_words(run.document),
        "Model kept": _kept(federation.get("average_last", 1), patience=federation.get("patience", 0)),
        "Classes": ", ".join(run.classes),
        "Seed": str(run.document["seed"]),
    }


def _extent(training: Mapping[str, Any]) -> str:
    """How far a site trains in one round."""
    if training.get("work_s") is not None:
        return f"{training['work_s']:g} s of work"
    epochs = training["local_epochs"]
    return plural(epochs, "epoch") if isinstance(epochs, int) else f"{epochs:g} epochs"


def _kept(last: int, *, patience: int) -> str | None:
    """Which model was tested and kept, where it is not the last round's."""
    if patience:
        best = "best on validation"
        return (
            f"the mean of the models of the {number(last)} rounds up to the one {best}" if last > 1 else best
        )
    return f"the mean of the models of the last {number(last)} rounds" if last > 1 else None


def _where(run: Run) -> dict[str, Child]:
    document = run.document
    engine = document["engine"]
    devices = Counter(site.device for site in run.sites.values())
    return {
        "Engine": f"{engine}: {_ENGINES[engine]}" if engine in _ENGINES else engine,
        "Devices": ", ".join(f"{device} ({plural(n, 'site')})" for device, n in sorted(devices.items())),
        "Consilium": f"version {document['consilium']}",
        "Started": moment(document["started_at"]),
        "Finished": moment(document["finished_at"]),
        "Duration": duration(document["duration_s"]),
    }


def _traces(run: Run) -> dict[str, Child]:
    document, files = run.document, run.document["files"]
    checkpoints = files.get("checkpoints") or []
    return {
        "Study digest (SHA-256)": tag("code", document["study_digest"]),
        "Model digest (SHA-256)": tag("code", document["final"]["model_digest"])
        if document["final"]
        else None,
        "Model file": tag("code", files["model"]) if files.get("model") else None,
        "Checkpoints": plural(len(checkpoints), "file") + f", last {checkpoints[-1]}"
        if checkpoints
        else None,
    }
