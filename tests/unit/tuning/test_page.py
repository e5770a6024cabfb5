"""The page says what was found, what is to be thought of it, and escapes what comes from files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from common.metrics import LOSS
from common.study import Study, load_study
from deploy.tuning.figure import Score, figure_of
from deploy.tuning.page import render, sentences
from deploy.tuning.trial import GIVEN, Trial
from deploy.tuning.tuned import Tuned, as_tried, short_names
from deploy.tuning.writing import write_tuned

KEYS = ("training.learning_rate", "study.note", "model.hidden")


def trial(number: int, value: float | None, note: str = "a") -> Trial:
    values = {"training.learning_rate": 0.001 * number, "study.note": note, "model.hidden": 8 * number}
    if value is None:
        return Trial(number, values, "failed", why="model-diverged: <b>it did</b>")
    return Trial(number, values, "completed", Score(value, (value - 0.02, value + 0.02)), "", 2.0)


@pytest.fixture
def tuned(study: Callable[..., Study]) -> Tuned:
    return Tuned(
        study=study(),
        keys=KEYS,
        figure=figure_of(study(), None),
        method="tpe",
        folds=2,
        seed=0,
        wanted=5,
        sites={"alder": 10, "birch": 12},
        trials=(trial(1, 0.7), trial(2, 0.9, "<script>"), trial(3, None), trial(4, 0.9)),
        importance={KEYS[0]: 0.75, KEYS[2]: 0.25},
        spending=(),
        tested=(),
        best_study=study(model={"hidden": 16}, training={"learning_rate": 2e-3}),
    )


def test_the_best_is_the_first_of_equals_whichever_way_is_better(tuned: Tuned) -> None:
    assert tuned.best is not None and tuned.best.number == 2
    lowest = replace(tuned, figure=LOSS).best
    assert lowest is not None and lowest.number == 1
    assert replace(tuned, trials=(trial(1, None),)).best is None


def test_a_repeated_trial_gives_luck_no_further_chance(tuned: Tuned) -> None:
    repeated = replace(trial(5, 0.9), same_as=4)
    assert replace(tuned, trials=(*tuned.trials, repeated)).luck == tuned.luck > 0


def test_the_page_escapes_and_fetches_nothing(tuned: Tuned) -> None:
    page = render(tuned)
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "<b>it did" not in page
    assert "http:" not in page and "https:" not in page
    assert "4 of 5 trials" in page and "75\N{NO-BREAK SPACE}%" in page


def test_what_is_to_be_thought_of_it_is_said(tuned: Tuned) -> None:
    told = " ".join(sentences(tuned))
    assert "The best of 3 trials" in told and "never asked" in told
    twice = replace(tuned, tested=({"trial": 2, "value": 0.8}, {"trial": 4, "value": 0.7}))
    told = " ".join(sentences(twice))
    assert "trial 2 came to AUROC 0.800" in told and "asked 2 times" in told


def test_the_given_study_is_compared_and_may_be_the_best(tuned: Tuned) -> None:
    poor = replace(tuned, given=replace(trial(1, 0.6), number=GIVEN))
    assert poor.best is tuned.trials[1] and "it is given, the study came to AUROC 0.600" in render(poor)
    equal = replace(tuned, given=replace(trial(1, 0.9), number=GIVEN))
    assert equal.best is equal.given
    assert "No trial came out better" in render(equal) and "as given" in render(equal)


def test_a_search_without_any_figure_has_a_page(tuned: Tuned) -> None:
    nothing = replace(tuned, trials=(trial(1, None),), importance={}, best_study=None)
    assert "model-diverged" in render(nothing)
    assert "0 of 5 trials" in render(replace(nothing, trials=()))


def test_the_files_say_the_same(tuned: Tuned, tmp_path: Path) -> None:
    write_tuned(tmp_path, tuned)
    assert load_study(tmp_path / "best.toml") == tuned.best_study
    document = json.loads((tmp_path / "tuning.json").read_text())
    assert document == json.loads(json.dumps(tuned.to_dict()))
    heading, *rows = (tmp_path / "trials.csv").read_text().splitlines()
    assert heading.startswith("trial,state,auroc,spread,fold-1,fold-2,training.learning_rate,study.note")
    assert len(rows) == 4 and rows[2].startswith("3,failed,,,,,")


def test_short_names_tell_keys_apart() -> None:
    keys = ("privacy.clip_norm", "privacy.sites.clip_norm", "model.hidden")
    assert list(short_names(keys).values()) == ["privacy.clip_norm", "privacy.sites.clip_norm", "hidden"]
    assert (
        as_tried({"model.hidden": 8, "model.cell": "gru"}, ("model.hidden", "model.cell"))
        == "hidden 8  cell gru"
    )
