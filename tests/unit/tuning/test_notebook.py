"""A search that is interrupted goes on as if it had not been; another search is not mixed with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.errors import ExtraMissing, SearchDiffers
from deploy.tuning import notebook as module
from deploy.tuning.figure import Score
from deploy.tuning.notebook import Method, Notebook, Open
from deploy.tuning.search import Axis, Choices, Range, Values
from deploy.tuning.trial import Trial

AXES: tuple[Axis, ...] = (
    Range("training.learning_rate", 1e-4, 1e-1, log=True),
    Range("model.hidden", 8, 64, whole=True),
    Choices("model.cell", ("gru", "lstm", "rnn")),
)
ASKED: dict[str, Any] = {"study": "a", "search": "b", "seed": 0}
GRID: list[Values] = [
    {"model.layers": layers, "model.bidirectional": both} for layers in (1, 2, 3) for both in (True, False)
]
GRID_AXES = (Choices("model.layers", (1, 2, 3)), Choices("model.bidirectional", (True, False)))


def opened(folder: Path, method: Method = "tpe", asked: dict[str, Any] = ASKED, seed: int = 0) -> Notebook:
    folder.mkdir(exist_ok=True)
    if method == "grid":
        return Notebook(folder, asked, GRID_AXES, GRID, method, seed, higher=True)
    return Notebook(folder, asked, AXES, [], method, seed, higher=True)


def ended(begun: Open) -> Trial:
    """A trial that likes small learning rates and much width."""
    rate, hidden = begun.values.get("training.learning_rate", 0.0), begun.values.get("model.hidden", 0)
    value = hidden / 64 - 10 * rate
    if begun.number == 3:
        return Trial(begun.number, begun.values, "failed", why="model-diverged: it did")
    return Trial(begun.number, begun.values, "completed", Score(value, (value - 0.1, value + 0.1)), "", 1.5)


def searched(folder: Path, wanted: int, method: Method = "tpe", stop_at: int | None = None) -> list[Trial]:
    """All trials after a search for so many; one that is begun at ``stop_at`` is never ended."""
    notes = opened(folder, method)
    while begun := notes.next(wanted):
        if begun.number == stop_at:
            break
        notes.end(ended(begun))
    return notes.ended()


@pytest.mark.parametrize("method", ["tpe", "random", "grid"])
@pytest.mark.parametrize("stop_at", [1, 4, 14])
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(
    tmp_path: Path, method: Method, stop_at: int
) -> None:
    whole = searched(tmp_path / "whole", 16, method)
    assert len(whole) == (6 if method == "grid" else 16)
    searched(tmp_path / "cut", 16, method, stop_at)
    assert searched(tmp_path / "cut", 16, method) == whole


def test_more_trials_go_on_after_fewer_and_the_same_do_nothing(tmp_path: Path) -> None:
    few = searched(tmp_path, 5)
    assert searched(tmp_path, 5) == searched(tmp_path, 3) == few
    assert searched(tmp_path, 8)[:5] == few


def test_what_is_tried_lies_in_the_search(tmp_path: Path) -> None:
    for trial in searched(tmp_path, 12, "random"):
        assert 1e-4 <= trial.values["training.learning_rate"] <= 1e-1
        assert isinstance(trial.values["model.hidden"], int) and 8 <= trial.values["model.hidden"] <= 64
        assert trial.values["model.cell"] in ("gru", "lstm", "rnn")


def test_a_grid_is_gone_through_once_in_its_order(tmp_path: Path) -> None:
    assert [trial.values for trial in searched(tmp_path, 99, "grid")] == GRID


def test_another_seed_tries_other_values(tmp_path: Path) -> None:
    first, other = (opened(tmp_path / str(seed), seed=seed).next(1) for seed in (0, 1))
    assert first and other and first.values != other.values


@pytest.mark.parametrize("changed", list(ASKED))
def test_another_search_is_refused_by_what_differs(tmp_path: Path, changed: str) -> None:
    searched(tmp_path, 2)
    with pytest.raises(SearchDiffers, match=f"another {changed}$"):
        opened(tmp_path, asked={**ASKED, changed: "other"})


def test_what_came_of_a_trial_is_kept(tmp_path: Path) -> None:
    trials = searched(tmp_path, 3)
    assert opened(tmp_path).ended() == trials
    assert [trial.state for trial in trials] == ["completed", "completed", "failed"]
    assert trials[2].why == "model-diverged: it did"


def test_how_often_the_test_split_was_asked_is_kept(tmp_path: Path) -> None:
    notes = opened(tmp_path)
    notes.note_test(4)
    assert opened(tmp_path).tested() == [{"trial": 4, "value": None}]
    notes.complete_test(0.75)
    notes.note_test(9)
    assert opened(tmp_path).tested() == [{"trial": 4, "value": 0.75}, {"trial": 9, "value": None}]


def test_what_decides_about_the_figure_is_found_important(tmp_path: Path) -> None:
    searched(tmp_path, 40, "random")
    shares = opened(tmp_path, "random").importance()
    assert set(shares) == {axis.key for axis in AXES}
    assert min(shares, key=lambda key: shares[key]) == "model.cell"
    assert sum(shares.values()) == pytest.approx(1.0)


def test_of_a_few_trials_nothing_is_said(tmp_path: Path) -> None:
    searched(tmp_path, module.LEAST_TRIALS)  # one of them failed
    assert opened(tmp_path).importance() == {}


def test_only_a_trial_below_the_median_is_hopeless(tmp_path: Path) -> None:
    notes = opened(tmp_path, "random")
    for value in (0.6, 0.7, 0.8, 0.9, 0.95):
        begun = notes.next(9)
        assert begun is not None
        assert not notes.is_hopeless(begun, 50, value) or begun.number > module.UNTIL_PRUNED
        notes.end(Trial(begun.number, begun.values, "completed", Score(value, (value,))))
    poor = notes.next(9)
    assert poor is not None
    assert not notes.is_hopeless(poor, 10, 0.5)  # too early to tell
    assert notes.is_hopeless(poor, 50, 0.5)
    assert notes.is_hopeless(poor, 50, 0.5)  # told again by a search that was interrupted there
    notes.end(Trial(poor.number, poor.values, "pruned", why="below the median"))
    good = notes.next(9)
    assert good is not None and not notes.is_hopeless(good, 50, 0.85)
    assert notes.ended()[-1].state == "pruned"


def test_without_optuna_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ExtraMissing) as caught:
        module.optuna_module()
    assert "consilium[tune]" in caught.value.hint
