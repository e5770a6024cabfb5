"""What becomes of a trial: a figure, a failure that others may not share, or the end of the search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from common.errors import DiskFull, ModelDiverged, OutOfMemory, StudyStopped
from common.metrics import ClassificationSums, EvaluationSums
from common.study import Study
from deploy.tuning.candidates import Candidates
from deploy.tuning.figure import figure_of
from deploy.tuning.notebook import Notebook
from deploy.tuning.search import Values, parse_search
from deploy.tuning.stage import Stage
from deploy.tuning.trial import GIVEN, Trial
from deploy.tuning.trying import Trying
from deploy.tuning.watching import Watch
from tests.unit.tuning.test_search import STUDY

SEARCH = {"model": {"hidden": [4, 8, 16, 32, 128, 100_000], "layers": [1, 2]}}
Run = Callable[[Study, int, Watch], EvaluationSums]


class FakeStage:
    """Counts without training."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.ran: list[tuple[int, int]] = []
        self.out: list[Path] = []

    def run(self, study: Study, fold: int, out: Path, watch: Watch) -> EvaluationSums:
        self.ran.append((study.model.hidden, fold))
        self.out.append(out)
        out.mkdir(parents=True)
        return self._run(study, fold, watch)


def counts(right: float, cases: int = 20) -> ClassificationSums:
    """Scores of which a share ranks rightly."""
    labels = np.arange(cases) % 2
    sure = np.where(np.arange(cases) < right * cases, 0.9, 0.1)
    positive = np.where(labels == 1, sure, 1 - sure)
    return ClassificationSums.count(np.stack([1 - positive, positive], 1), labels, keep_scores=True)


def good(study: Study, fold: int, watch: Watch) -> EvaluationSums:
    return counts(min(0.5 + study.model.hidden / 100, 0.8) + fold / 10)


def always(error: Exception) -> Run:
    def run(study: Study, fold: int, watch: Watch) -> EvaluationSums:
        raise error

    return run


def trying(folder: Path, run: Run, grid: list[Values], **more: Any) -> tuple[Trying, FakeStage]:
    (folder / "study.toml").write_text(STUDY)
    candidates, stage = Candidates(folder / "study.toml"), FakeStage(run)
    notes = Notebook(folder, {}, parse_search(SEARCH).axes, grid, "grid", 0, higher=True)
    figure = figure_of(candidates.given(), "accuracy")
    return Trying(candidates, cast(Stage, stage), 2, notes, figure, **more), stage


def values(*hidden: int) -> list[Values]:
    return [{"model.hidden": each, "model.layers": 1} for each in hidden]


def made(trials: Trying) -> list[Trial]:
    while begun := trials.notebook.next(99):
        trials.run(begun, trials.notebook.ended())
    return trials.notebook.ended()


def test_a_trial_s_figure_is_that_of_all_held_out_cases(tmp_path: Path) -> None:
    trials, stage = trying(tmp_path, good, values(8))
    (trial,) = made(trials)
    assert stage.ran == [(8, 0), (8, 1)]
    assert trial.score is not None and trial.state == "completed"
    assert trial.score.folds == pytest.approx((0.6, 0.7))
    assert trial.score.value == pytest.approx(0.65)


def test_the_same_values_are_not_tried_again(tmp_path: Path) -> None:
    trials, stage = trying(tmp_path, good, values(8, 16, 8))
    first, _, again = made(trials)
    assert len(stage.ran) == 4
    assert (again.score, again.same_as) == (first.score, 1)


def test_the_given_study_is_tried_and_not_again_as_a_trial(tmp_path: Path) -> None:
    trials, stage = trying(tmp_path, good, values(128))
    own = {"model.hidden": 128, "model.layers": 1}
    found = trials.given(own)
    assert found == trials.notebook.given(own) and found.number == GIVEN
    begun = trials.notebook.next(9)
    assert begun is not None
    again = trials.run(begun, (found,))
    assert (again.score, again.same_as) == (found.score, GIVEN)
    assert len(stage.ran) == 2


def test_values_that_are_no_study_are_a_failed_trial(tmp_path: Path) -> None:
    trials, stage = trying(tmp_path, good, values(8, 100_000))
    _, refused = made(trials)
    assert refused.state == "failed" and refused.why.startswith("study-invalid-value: model.hidden")
    assert len(stage.ran) == 2


@pytest.mark.parametrize("error", [ModelDiverged("loss nan"), OutOfMemory()])
def test_a_training_that_fails_is_a_failed_trial(tmp_path: Path, error: Exception) -> None:
    def run(study: Study, fold: int, watch: Watch) -> EvaluationSums:
        if study.model.hidden == 16:
            raise error
        return good(study, fold, watch)

    trials, _ = trying(tmp_path, run, values(16, 8, 16, 16, 16))
    assert [trial.state for trial in made(trials)] == ["failed", "completed", "failed", "failed", "failed"]


def test_if_no_trial_works_the_search_ends_with_why(tmp_path: Path) -> None:
    trials, _ = trying(tmp_path, always(ModelDiverged("loss nan")), values(4, 8, 16, 32))
    with pytest.raises(ModelDiverged):
        made(trials)
    assert len(trials.notebook.ended()) == 2


def test_a_full_disk_ends_the_search_at_once(tmp_path: Path) -> None:
    trials, _ = trying(tmp_path, always(DiskFull()), values(4))
    with pytest.raises(DiskFull):
        made(trials)
    assert trials.notebook.ended() == []


def test_a_figure_that_is_not_defined_is_a_failed_trial(tmp_path: Path) -> None:
    trials, _ = trying(tmp_path, lambda *_: counts(1.0, cases=0), values(4))
    (trial,) = made(trials)
    assert trial.state == "failed" and "not defined" in trial.why


def test_a_hopeless_trial_is_given_up_if_that_is_wished(tmp_path: Path) -> None:
    ended: list[int] = []

    def run(study: Study, fold: int, watch: Watch) -> EvaluationSums:
        found = counts(0.1 if study.model.hidden == 32 else 0.9)
        for number in range(1, study.federation.rounds + 1):
            watch(number, found)
            ended.append(number)
        return found

    grid = [{"model.hidden": h, "model.layers": layers} for h in (4, 8) for layers in (1, 2)] + values(32)
    trials, stage = trying(tmp_path, run, grid, prune=True)
    assert [trial.state for trial in made(trials)] == [*["completed"] * 4, "pruned"]
    assert stage.ran[-1] == (32, 0)  # its second fold was not begun
    assert len(ended) == 4 * 2 * 10 + 2  # two rounds of ten: a quarter of the fold must be over


def test_a_stopped_study_is_not_a_failure_of_the_search(tmp_path: Path) -> None:
    trials, _ = trying(tmp_path, always(StudyStopped("hopeless")), values(4, 8, 16, 32))
    assert {trial.state for trial in made(trials)} == {"pruned"}


def test_runs_are_kept_only_if_that_is_wished(tmp_path: Path) -> None:
    trials, stage = trying(tmp_path, good, values(8), keep=tmp_path / "trials")
    left = tmp_path / "trials" / "001" / "fold-2"
    left.mkdir(parents=True)
    (left / "ledger").write_text("of an interrupted run")
    made(trials)
    assert stage.out == [tmp_path / "trials" / "001" / f"fold-{number}" for number in (1, 2)]
    assert left.is_dir() and not list(left.iterdir())

    (tmp_path / "other").mkdir()
    trials, stage = trying(tmp_path / "other", good, values(8))
    made(trials)
    assert not any(out.exists() for out in stage.out)
