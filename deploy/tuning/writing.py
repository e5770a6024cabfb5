"""A search as files: the best study, the table of trials, and what there is to say of them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from common.files import write_atomically
from common.study import to_toml
from deploy.tuning.page import render
from deploy.tuning.search import named
from deploy.tuning.tuned import Tuned

GIVEN_FILE, SEARCH_FILE, BEST_FILE = "given.toml", "search.toml", "best.toml"
TABLE_FILE, TUNING_FILE, PAGE_FILE = "trials.csv", "tuning.json", "tuning.html"


def write_tuned(out: Path, tuned: Tuned) -> None:
    """Write all files of a search, each whole or not at all.

    Raises:
        DiskFull, OutputUnwritable: They cannot be written.
    """
    if tuned.best_study is not None:
        write_atomically(out / BEST_FILE, to_toml(tuned.best_study))
    write_atomically(out / TABLE_FILE, _table(tuned))
    write_atomically(out / TUNING_FILE, json.dumps(tuned.to_dict(), indent=1, allow_nan=False) + "\n")
    write_atomically(out / PAGE_FILE, render(tuned))


def _table(tuned: Tuned) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    folds = [f"fold-{number + 1}" for number in range(tuned.folds)]
    writer.writerow(
        ["trial", "state", tuned.figure.key, "spread", *folds, *tuned.keys, "seconds", "same_as", "why"]
    )
    for trial in tuned.all:
        score = trial.score
        figures = [repr(value) for value in score.folds] if score else []
        writer.writerow(
            [
                trial.number or "given",
                trial.state,
                *((repr(score.value), repr(score.spread)) if score else ("", "")),
                *figures,
                *[""] * (tuned.folds - len(figures)),
                *(_cell(trial.values[key]) for key in tuned.keys),
                f"{trial.duration_s:.1f}",
                "" if trial.same_as is None else trial.same_as,
                trial.why,
            ]
        )
    return text.getvalue()


def _cell(value: object) -> str:
    return value if isinstance(value, str) else named(value)
