"""A model card (Mitchell et al. 2019): what a model is for, on whom it was trained and tested, its limits.

Figures are those of the run's ``run.json``: counts and scores that its hospitals let out, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from client.predicting.model import TrainedModel
from common.errors import ModelWithoutStudy
from common.study import digest

_SCORES = ("n", "auroc", "accuracy", "balanced_accuracy", "f1", "recall", "precision", "calibration_error")


def card_of(model: TrainedModel) -> str:
    """The card as Markdown.

    Raises:
        ModelWithoutStudy: The run's run.json is not beside the model.
    """
    if model.run is None:
        raise ModelWithoutStudy(
            "a card needs the run's run.json beside the model",
            hint="Give the run's folder; run.json must be that of the same model.",
        )
    return "\n".join(_lines(model, model.run)) + "\n"


def _lines(model: TrainedModel, run: Mapping[str, Any]) -> Iterator[str]:
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


def _facts(model: TrainedModel, run: Mapping[str, Any]) -> Iterator[str]:
    study = model.study
    architecture = study.model
    yield "| | |"
    yield "|---|---|"
    yield f"| Task | {study.study.task}: {', '.join(study.study.classes)} |"
    yield f"| Input | {study.sequence.kind}; modality {', '.join(study.data.modality) or 'not restricted'} |"
    yield (
        f"| Model | encoder {architecture.encoder}, {architecture.layers} x {architecture.cell} of "
        f"{architecture.hidden}, pooling {architecture.pooling}, dropout {architecture.dropout:g} |"
    )
    rounds, strategy = len(run.get("rounds") or ()), study.federation.strategy.name
    yield f"| Training | {rounds} rounds, {strategy}, seed {run.get('seed')} |"
    yield f"| Weights | SHA-256 `{model.digest}` |"
    yield f"| Study | digest `{digest(study)}` |"
    yield f"| Program | Consilium {run.get('consilium')} |"


def _limits(model: TrainedModel, run: Mapping[str, Any]) -> Iterator[str]:
    yield "- Research software. It is no medical device, and no diagnosis follows from its output alone."
    yield "- It knows the classes above and no other: whatever it is shown, it calls one of them."
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
