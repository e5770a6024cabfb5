"""A plan says what will be done and what it costs, and both are the same thing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from common.errors import InvalidValue, PrivacyUnreachable
from common.private.accounting import epsilon_of
from common.private.event import Event
from common.private.plan import MOST_DELTA, evaluation_plan_of, evaluations, plan_of
from common.study import Study, to_toml
from deploy.cli import privacy as command

MakeStudy = Callable[..., Study]


@pytest.fixture(scope="module")
def study_with(make_study: MakeStudy) -> MakeStudy:
    """A study of 4 rounds of 2 epochs whose ``[privacy]`` is what is given."""

    def make(rounds: int = 4, evaluate_every: int = 1, **privacy: Any) -> Study:
        return make_study(
            training={"local_epochs": 2},
            federation={"rounds": rounds, "evaluate_every": evaluate_every},
            privacy={"accountant": "rdp", **privacy},
        )

    return make


def test_the_plan_is_what_the_study_says(study_with: MakeStudy) -> None:
    study = study_with(
        noise_multiplier=1.5,
        target_delta=1e-5,
        clip_norm=0.7,
        sample_rate=0.3,
        max_cases_per_patient=2,
        unit="image",
        secure_noise=True,
    )
    plan = plan_of(study, 200)
    assert (plan.unit, plan.units, plan.neighbouring) == ("image", 200, "add or remove one unit")
    assert (plan.sample_rate, plan.expected_units) == (0.3, 60.0)
    assert (plan.steps_per_round, plan.rounds) == (2 * 3, 4)
    assert plan.noise_multiplier == plan.gradient_noise_multiplier == 1.5
    assert (plan.clip_norm, plan.adaptive_clip) == (0.7, None)
    assert (plan.target_delta, plan.accountant) == (1e-5, "rdp")
    assert (plan.max_cases_per_patient, plan.secure_noise) == (2, True)
    assert plan.round_event() == Event(1.5, 0.3, 6)
    assert plan.events_after(3) == (Event(1.5, 0.3, 18),)


def test_epsilon_is_that_of_the_rounds_events(study_with: MakeStudy) -> None:
    plan = plan_of(study_with(noise_multiplier=1.5, target_delta=1e-5), 200)
    assert plan.epsilon_after(0) == 0
    assert plan.epsilon_after(3) == epsilon_of([plan.round_event()] * 3, 1e-5, "rdp")
    assert plan.epsilon_after(3) < plan.epsilon_after(4)


@pytest.mark.parametrize("accountant", ["prv", "rdp"])
def test_a_target_is_spent_by_the_last_round_and_not_before(study_with: MakeStudy, accountant: str) -> None:
    plan = plan_of(study_with(target_epsilon=3.0, target_delta=1e-4, accountant=accountant), 500)
    assert 0.99 * 3 <= plan.epsilon_after(plan.rounds) <= 3
    assert plan.epsilon_after(plan.rounds - 1) < 2.9


def test_a_target_out_of_reach_is_refused(study_with: MakeStudy) -> None:
    with pytest.raises(PrivacyUnreachable):
        plan_of(study_with(rounds=100_000, target_epsilon=0.001, target_delta=1e-9, sample_rate=1.0), 10)


def test_delta_is_small_beside_one_in_n(study_with: MakeStudy) -> None:
    study = study_with(noise_multiplier=1.0)
    assert plan_of(study, 1000).target_delta == pytest.approx(1000**-1.1)
    assert [plan_of(study, units).target_delta for units in (1, 2, 30)] == [MOST_DELTA] * 3


def test_an_adaptive_clip_norm_is_paid_for_with_more_noise(study_with: MakeStudy) -> None:
    plan = plan_of(
        study_with(noise_multiplier=1.0, clip_quantile=0.6, clip_rate=0.3, clip_norm=2.0, sample_rate=0.5),
        400,
    )
    assert plan.adaptive_clip is not None
    assert (plan.adaptive_clip.quantile, plan.adaptive_clip.rate, plan.adaptive_clip.start) == (0.6, 0.3, 2.0)
    assert plan.adaptive_clip.count_noise == 10.0
    assert plan.gradient_noise_multiplier == pytest.approx((1 - 20.0**-2) ** -0.5)
    assert plan.round_event().noise_multiplier == 1.0


def test_a_study_that_does_not_train_privately_has_no_plan(make_study: MakeStudy) -> None:
    only_sites = make_study(privacy={"sites": {"noise_multiplier": 1.0, "planned_sites": 3}})
    for study in (make_study(), only_sites):
        with pytest.raises(InvalidValue, match="target_epsilon"):
            plan_of(study, 100)
        assert evaluation_plan_of(study, 100) is None


@pytest.mark.parametrize(("rounds", "every"), [(1, 1), (10, 1), (10, 3), (9, 3), (5, 100)])
def test_evaluations_are_counted_as_they_happen(study_with: MakeStudy, rounds: int, every: int) -> None:
    federation = study_with(rounds, every, noise_multiplier=1.0).federation
    happen = [number for number in range(1, rounds + 1) if number == rounds or number % every == 0]
    assert evaluations(federation) == len(happen)


def test_all_evaluations_together_cost_what_the_study_allows(study_with: MakeStudy) -> None:
    plan = evaluation_plan_of(study_with(7, 2, noise_multiplier=1.0, evaluation_epsilon=2.0), 300)
    assert plan is not None
    assert (plan.unit, plan.evaluations, plan.target_delta) == ("patient", 4, pytest.approx(300**-1.1))
    assert plan.event() == Event(plan.noise_multiplier, 1.0, 1)
    assert 0.99 * 2 <= plan.epsilon_after(4) <= 2
    assert plan.epsilon_after(4) == pytest.approx(epsilon_of([plan.event()] * 4, plan.target_delta, "rdp"))


@pytest.fixture
def consilium(study_with: MakeStudy, tmp_path: Path) -> Callable[..., str]:
    """Runs ``consilium privacy plan`` on a study with this ``[privacy]`` and returns what it prints."""

    def run(*options: str, rounds: int = 4, **privacy: Any) -> str:
        file = tmp_path / "study.toml"
        file.write_text(to_toml(study_with(rounds, **privacy)))
        app = typer.Typer()
        app.add_typer(command.app, name="privacy")
        found = CliRunner().invoke(app, ["privacy", "plan", str(file), *options], catch_exceptions=False)
        assert found.exit_code == 0
        return found.stdout

    return run


def test_the_command_prints_the_plan(consilium: Callable[..., str], study_with: MakeStudy) -> None:
    text = consilium("--patients", "500", noise_multiplier=2.0, target_delta=1e-4, clip_quantile=0.5)
    for expected in (
        "a patient with all its cases",
        "0.0001",
        "50 units expected",
        "adapted",
        "without noise",
    ):
        assert expected in text
    plan = plan_of(study_with(noise_multiplier=2.0, target_delta=1e-4), 500)
    table = [line.split() for line in text.splitlines() if line.split() and line.split()[0].isdigit()]
    assert table == [[str(n), str(20 * n), f"{plan.epsilon_after(n):.3f}"] for n in range(1, 5)]


def test_the_command_prints_json(consilium: Callable[..., str]) -> None:
    options = ("--patients", "500", "--rounds", "30", "--json")
    document = json.loads(consilium(*options, target_epsilon=2.0, evaluation_epsilon=1.0))
    assert document["plan"]["units"] == 500
    assert (document["evaluation_epsilon"], document["evaluations"]) == (1.0, 30)
    assert [row["round"] for row in document["rounds"]][:: len(document["rounds"]) - 1] == [1, 30]
    assert len(document["rounds"]) <= 12
    assert 1.98 <= document["rounds"][-1]["epsilon"] <= 2.0
    assert len(document["without_noise"]) == 3 and "class" in document["without_noise"][0]
