"""A model card (Mitchell et al. 2019): what a model is for, on whom it was trained and tested, its limits.

Figures are those of the run's ``run.json``: counts and scores that its hospitals let out, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from client.exporting.exportable import exportable
from client.exporting.interface import Port
from client.predicting.model import TrainedModel, learns
from common.errors import ModelWithoutStudy, TaskNotServed
from common.study import digest

_SCORES = (
    *("n", "auroc", "accuracy", "balanced_accuracy", "f1", "recall", "precision", "calibration_error"),
    *("concordance", "dice", "pooled_dice", "hd95", "map50", "map30", "froc", "bits_per_dim"),
)

_KNOWS = {
    "segmentation": "It knows the classes above and no other: every pixel it calls one of them.",
    "detection": "It looks for the classes above and nothing else: no box does not mean no finding.",
    "generation": (
        "What it draws is of no patient and proves nothing, and may still come near to a patient's picture "
        "that it was trained on: compare with those before a drawn picture leaves a hospital."
    ),
    "risk": "Its risk is that of the outcome above, among patients like those it was trained on.",
    "several labels": "It knows the labels above and no other finding.",
}
"""By what a study learns."""


def card_of(model: TrainedModel, *, step: bool = False) -> str:
    """The card as Markdown.

    Args:
        model: Of which it tells.
        step: Tell of the exported file of a single step, and not of that of whole cases.

    Raises:
        ModelWithoutStudy: The run's run.json is not beside the model.
    """
    if model.run is None:
        raise ModelWithoutStudy(
            "a card needs the run's run.json beside the model",
            hint="Give the run's folder; run.json must be that of the same model.",
        )
    return "\n".join(_lines(model, model.run, step)) + "\n"


def _lines(model: TrainedModel, run: Mapping[str, Any], step: bool) -> Iterator[str]:
    head, final = model.study.study, run.get("final") or {}
    yield f"# Model card: {head.name}"
    yield from ("", f"Written from the run that ended {run.get('finished_at') or 'not yet'}.", "")
    yield from _facts(model, run)
    yield from ("", "## Intended use and limits", "", *_limits(model, run))
    yield from ("", "## Who trained it", "", *_sites(run))
    yield from ("", "## Results on test cases", "", *_results(final))
    for name, groups in (final.get("subgroups") or {}).items():
        told = _table("Group", groups) if groups else ("No hospital tells subgroups of it.",)
        yield from ("", f"### By {name}", "", *told)
    yield from ("", "## Calibration", "", *_calibration(model))
    yield from ("", "## Privacy", "", *_privacy(run))
    yield from ("", "## The exported file", "", *_interface(model, step))


def _facts(model: TrainedModel, run: Mapping[str, Any]) -> Iterator[str]:
    study = model.study
    architecture = study.model
    yield "| | |"
    yield "|---|---|"
    yield f"| Task | {study.study.task}: {', '.join(study.study.classes)} |"
    yield f"| Input | {study.sequence.kind}; modality {', '.join(study.data.modality) or 'not restricted'} |"
    pools = learns(study) in ("classification", "several labels")
    yield (
        f"| Model | encoder {architecture.encoder}, {architecture.layers} x {architecture.cell} of "
        f"{architecture.hidden}, {f'pooling {architecture.pooling}, ' if pools else ''}"
        f"dropout {architecture.dropout:g} |"
    )
    rounds, strategy = len(run.get("rounds") or ()), study.federation.strategy.name
    yield f"| Training | {rounds} rounds, {strategy}, seed {run.get('seed')} |"
    yield f"| Weights | SHA-256 `{model.digest}` |"
    yield f"| Study | digest `{digest(study)}` |"
    yield f"| Program | Consilium {run.get('consilium')} |"


def _limits(model: TrainedModel, run: Mapping[str, Any]) -> Iterator[str]:
    yield "- Research software. It is no medical device, and no diagnosis follows from its output alone."
    known = "It knows the classes above and no other: whatever it is shown, it calls one of them."
    yield f"- {_KNOWS.get(learns(model.study), known)}"
    yield "- The results below hold for pictures like those of the hospitals below, and for no others."
    yield "- A pooled score also rewards telling hospitals apart: read each hospital by itself."
    for site, told in sorted((run.get("sites") or {}).items()):
        for note in told.get("notes") or ():
            yield f"- {site}: {note}."
    if run.get("status") != "completed":
        yield f"- The run is {run.get('status')}, not completed."


def _sites(run: Mapping[str, Any]) -> Iterator[str]:
    yield "| Hospital | training cases | patients | test cases | patients | training cases of each class |"
    yield "|---|---|---|---|---|---|"
    for site, told in sorted((run.get("sites") or {}).items()):
        labels = ", ".join(f"{name} {count}" for name, count in told["train_labels"].items())
        yield (
            f"| {site} | {told['train_cases']} | {told['train_patients']} | {told['test_cases']} "
            f"| {told['test_patients']} | {labels} |"
        )


def _results(final: Mapping[str, Any]) -> Iterator[str]:
    if not final.get("pooled"):
        yield "The model was not tested."
        return
    yield from _table("Hospital", {"all together": final["pooled"], **(final.get("sites") or {})})


def _table(first: str, rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Scores by row; a score that is undefined, or that the task does not have, is a dash."""
    known = [score for score in _SCORES if any(score in told for told in rows.values())]
    yield f"| {first} | " + " | ".join(score.replace("_", " ") for score in known) + " |"
    yield "|---|" + "---|" * len(known)
    for name, told in rows.items():
        yield f"| {name} | " + " | ".join(_number(told.get(score)) for score in known) + " |"


def _number(value: Any) -> str:
    if value is None:
        return "—"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _calibration(model: TrainedModel) -> Iterator[str]:
    found = model.calibration
    if learns(model.study) == "generation":
        yield "A generator has none."
        return
    if found is None:
        yield "None was fitted: probabilities are the model's own, and may be too sure."
        return
    numbers = {"Temperature": found.temperature, "bias": found.bias, "threshold": found.threshold}
    told = (f"{name} {', '.join(f'{n:.3f}' for n in own)}" for name, own in numbers.items() if own)
    yield f"{', '.join(told)}; by class, form `{found.form}`."


def _privacy(run: Mapping[str, Any]) -> Iterator[str]:
    rounds = run.get("rounds") or ()
    spent: dict[str, tuple[float, float]] = {}
    for entry in rounds:
        for site, told in (entry.get("training") or {}).items():
            if told.get("epsilon") is not None:
                spent[site] = (told["epsilon"], told["target_delta"])
    if run.get("privacy") is None:
        yield "None was asked for: the weights may tell something about single patients of the training set."
        return
    for site, (epsilon, delta) in sorted(spent.items()):
        yield f"- {site}: epsilon {epsilon:.2f} at delta {delta:.1e}, by its own ledger."
    hidden = (run["privacy"].get("sites") or {}).get("epsilon") or ()
    if hidden and hidden[-1] is not None:
        yield f"- Whether a hospital took part: epsilon {hidden[-1]:.2f}."


def _interface(model: TrainedModel, step: bool) -> Iterator[str]:
    """What goes in and comes out of it, where the model can be exported."""
    try:
        interface = exportable(model, step=step).interface
    except TaskNotServed as why:
        yield f"There is none: {why}."
        return
    yield "`batch` and `length` are free."
    yield from ("", "| | Name | Shape | Type | What it is |", "|---|---|---|---|---|")
    yield from (_port("in", port) for port in interface.inputs)
    yield from (_port("out", port) for port in interface.outputs)
    yield ""
    yield from (f"- {note}" for note in interface.notes)


def _port(way: str, port: Port) -> str:
    shape = ", ".join(str(side) for side in port.shape)
    return f"| {way} | `{port.name}` | ({shape}) | {port.kind} | {port.meaning} |"
