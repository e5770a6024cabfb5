"""When a study with patience ends: what counts as better, what counts as nothing, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidValue
from common.metrics import LOSS, EvaluationSums, Figure
from common.metrics.classification import ClassificationSums
from common.study import digest, parse_study
from server.report.stopping import stopping_words
from server.stopping import Patience, Standing
from tests.unit.conftest import small_study

HIGH = Figure("auroc", "AUROC")


def rounds(*values: float | None) -> list[dict[str, Any]]:
    """Finished rounds with such a figure; None for one that is there without a figure."""
    return [{"round": number, "validation": {"value": v}} for number, v in enumerate(values, start=1)]


@pytest.mark.parametrize(
    ("figure", "min_delta", "values", "expected"),
    [
        (HIGH, 0.0, (), Standing()),
        (HIGH, 0.0, (0.7,), Standing(1, 0.7, 0)),
        (HIGH, 0.0, (0.7, 0.8, 0.75, 0.8), Standing(2, 0.8, 2)),
        (HIGH, 0.0, (0.7, 0.6, 0.9), Standing(3, 0.9, 0)),
        (LOSS, 0.0, (0.7, 0.6, 0.65), Standing(2, 0.6, 1)),
        (HIGH, 0.05, (0.7, 0.74, 0.76, 0.8), Standing(3, 0.76, 1)),
        (HIGH, 0.0, (0.7, None, None, 0.6), Standing(1, 0.7, 1)),
        (HIGH, 0.0, (None, None), Standing()),
    ],
)
def test_the_best_round_is_the_last_that_was_better(
    figure: Figure, min_delta: float, values: tuple[float | None, ...], expected: Standing
) -> None:
    assert Patience(2, figure, min_delta).standing(rounds(*values)) == expected


def test_rounds_that_were_not_tested_say_nothing() -> None:
    entries = [{"round": 1}, *rounds(0.7)[:1], {"round": 3, "validation": None}]
    entries[1]["round"] = 2
    assert Patience(1, HIGH).standing(entries) == Standing(2, 0.7, 0)


def test_it_is_over_after_so_many_tests() -> None:
    patience = Patience(2, HIGH)
    assert [patience.is_over(Standing(1, 0.7, since)) for since in range(4)] == [False, False, True, True]
    assert not patience.is_over(Standing())


def counts(right: int, n: int) -> EvaluationSums:
    """The counts of a site that has so many of its cases right, each with the same probability."""
    import torch  # a test's own counts, made as a site makes them

    from common.learning import learning_of
    from common.sequences import SequenceBatch

    said = torch.tensor([[0.0, 2.0]] * right + [[2.0, 0.0]] * (n - right))
    batch = SequenceBatch(torch.zeros(n, 1, 1), torch.ones(n, dtype=torch.int64), torch.ones(n).long())
    return learning_of(small_study()).count(said, batch, keep=False)


def test_validation_is_over_all_cases_as_one_set() -> None:
    patience = Patience.of(small_study(federation={"patience": 3, "patience_by": "loss"}))
    assert patience == Patience(3, LOSS)
    told = patience.validation({"elm": counts(1, 4), "birch": counts(3, 4)}, ("normal", "lesion"))
    assert told is not None and told["value"] == told["loss"] == pytest.approx(1.12693, abs=1e-4)
    assert (told["n"], told["sites"], told["figure"]) == (8, ["birch", "elm"], "loss")
    assert patience.validation({}, ("normal", "lesion")) is None


def test_a_figure_that_is_undefined_is_none() -> None:
    patience = Patience.of(small_study(federation={"patience": 3}))
    assert patience is not None and patience.figure == ClassificationSums.FIGURES[0]
    told = patience.validation({"elm": counts(1, 4)}, ("normal", "lesion"))  # cases of one class alone
    assert told is not None and told["value"] is None and told["loss"] is not None


@pytest.mark.parametrize("task", ["classification", "segmentation", "detection", "generation", "risk"])
def test_every_task_has_a_figure(task: str) -> None:
    sections: dict[str, Any] = {"study": {"task": task}, "federation": {"patience": 1}}
    if task in ("detection", "risk"):
        sections["sequence"] = {"kind": "frames"} if task == "risk" else {"kind": "patches", "patch": 4}
    patience = Patience.of(small_study(**sections))
    assert patience is not None and patience.figure.key != "loss"


@pytest.mark.parametrize(
    ("sections", "why"),
    [
        ({"privacy": {"target_epsilon": 8.0}}, "without the noise that is paid for"),
        ({"privacy": {"sites": {"noise_multiplier": 1.0, "planned_sites": 9}}}, "without the noise"),
        ({"data": {"test_split": "val"}}, "validation cases are what the model is tested on"),
    ],
)
def test_patience_is_refused_where_validation_cases_may_not_be_counted(
    sections: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidValue, match=f"federation.patience cannot be: .*{why}"):
        small_study(federation={"patience": 2}, **sections)


@pytest.mark.parametrize("key", [{"patience_by": "loss"}, {"patience_min_delta": 0.1}])
def test_its_settings_alone_are_refused(key: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match="patience = 5"):
        small_study(federation=key)


def test_every_setting_changes_the_digest_and_none_by_default() -> None:
    given: list[dict[str, Any]] = [
        {},
        {"patience": 2},
        {"patience": 2, "patience_by": "loss"},
        {"patience": 2, "patience_min_delta": 0.1},
    ]
    assert len({digest(small_study(federation=each)) for each in given}) == 4
    named = {"patience": 0, "patience_by": "figure", "patience_min_delta": 0.0}
    assert digest(small_study(federation=named)) == digest(small_study())


def test_when_validation_cases_are_counted() -> None:
    head = {"study": {"name": "x", "labels": {"0": "a", "1": "b"}}}

    def counted(**federation: Any) -> list[int]:
        study = parse_study({**head, "federation": {"rounds": 7, **federation}})
        return [number for number in range(1, 8) if study.validates_in(number)]

    assert counted() == [7]
    assert counted(calibrate="off") == []
    assert counted(patience=2, evaluate_every=3) == [3, 6, 7]
    assert counted(patience=2, evaluate_every=3, calibrate="off") == [3, 6, 7]


@pytest.mark.parametrize(
    ("final", "words"),
    [
        (None, ""),
        ({"round": 4}, ""),
        (
            {"round": 4, "stopping": {"value": 0.8, "stopped_after": 7}},
            "stopped after round 7: no better on validation since round 4",
        ),
        (
            {"round": 4, "stopping": {"value": 0.8, "stopped_after": None}},
            "not stopped early; the model of round 4 is kept, the best on validation",
        ),
        (
            {"round": 9, "stopping": {"value": None, "stopped_after": None}},
            "no round had a figure on validation; the last model is kept",
        ),
    ],
)
def test_what_is_said_of_it(final: dict[str, Any] | None, words: str) -> None:
    assert stopping_words({"final": final}) == words
