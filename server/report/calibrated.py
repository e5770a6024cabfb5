"""What calibration did: the fit in words, and the scores of the test cases as they are and calibrated."""

from __future__ import annotations

from collections.abc import Sequence

from common.page.markup import Markup, joined, tag
from common.page.tables import Column, Row, table
from common.page.wording import listing, metric, plural
from server.report.cells import score
from server.report.record import Run
from server.report.scores import Object, number_of

_TITLES = {
    "calibration_error": "Calibration error",
    "loss": "Loss",
    "brier": "Brier score",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "recall": "Recall",
    "specificity": "Specificity",
    "precision": "Precision",
    "f1": "F1",
}
_NAMED = 4


def calibrated(run: Run) -> Markup | None:
    """The section, or None in a run without a calibration."""
    told = (run.document["final"] or {}).get("calibration")
    if not told:
        return None
    return joined([tag("p", _fit(run, told)), _table(run, told["tested"]) if told["tested"] else None])


def _fit(run: Run, told: Object) -> str:
    sites: Sequence[str] = told["sites"]
    who = plural(len(sites), "site") + (f" ({listing(sites)})" if len(sites) <= _NAMED else "")
    cases = plural(told["n"], f"validation {run.case}")
    fitted = f"Fitted to {cases} of {who}; test cases had no part in it."
    if told["form"] == "labels":
        return (
            f"{fitted} Each label has a temperature, a bias and a threshold of its own; they are in run.json."
        )
    warm = f"Temperature {metric(told['temperature'], 2)}"
    sure = (
        "the model was surer than it should be" if told["temperature"] > 1 else "the model was not too sure"
    )
    called = (
        ""
        if told["threshold"] is None
        else f" “{run.classes[1]}” is called from a probability of {metric(told['threshold'], 2)} on."
    )
    return f"{fitted} {warm}: {sure}.{called}"


def _table(run: Run, tested: Object) -> Markup:
    keys = [key for key in _TITLES if any(key in tested[name] for name in tested)]
    columns = [Column("Probabilities"), *(Column(_TITLES[key]) for key in keys)]
    names = {"as_is": "As the model gives them, threshold 0.5", "calibrated": "Calibrated, fitted threshold"}
    rows = [
        Row(title, [score(number_of(tested[name].get(key))) for key in keys]) for name, title in names.items()
    ]
    undefined = any(tested[name].get(key) is None for name in names for key in keys)
    notes = [
        "† Not defined here: no test case has what it needs." if undefined else None,
        "A threshold that finds more of a rare class usually costs precision.",
    ]
    return table(f"On the test {run.cases} of all sites together", columns, rows, notes)
