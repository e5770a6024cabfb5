"""Training that dies and goes on gives, bit for bit, what it gives undisturbed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from client.checkpoints.checkpoint import Checkpoints
from client.moments import MomentsOnDisk
from client.private_training import PrivateOutcome, train_privately
from client.trainer import LocalPlan, train
from common.models import SequenceClassifier, state_of
from common.private.plan import plan_of
from common.private.secret import Secret
from common.sequences import SequenceBatch
from common.study import Study
from tests.unit.checkpoints.conftest import Dying, Killed

ModelOf = Callable[[Study], SequenceClassifier]
GROUPS = torch.tensor([0, 1, 1, 2, 2, 2, 3, 4, 4, 5, 6, 6, 6, 6, 6, 7])
PRIVACY = {"noise_multiplier": 1.0, "sample_rate": 0.4, "max_cases_per_patient": 2}


def assert_same(first: SequenceClassifier, second: SequenceClassifier) -> None:
    wanted = state_of(second)
    for name, array in state_of(first).items():
        np.testing.assert_array_equal(array, wanted[name], err_msg=name)


def deaths(run: Callable[[Checkpoints], Any], path: Path, every: int, steps: int) -> None:
    """Let training die, after so many steps each time, until it has come to its end."""
    for _ in range(50):
        with suppress(Killed):
            run(Dying(path, steps, every))
            return
        torch.manual_seed(99)  # another process has another state
    raise AssertionError("it never came to its end")


@pytest.mark.parametrize(
    ("sections", "mu"),
    [
        pytest.param({"model": {"dropout": 0.4, "layers": 2}}, 0.0, id="dropout"),
        pytest.param({"model": {"cell": "lstm"}, "training": {"optimizer": "adamw"}}, 0.0, id="lstm-adamw"),
        pytest.param({"training": {"optimizer": "sgd", "clip_grad_norm": 0.5}}, 1.0, id="sgd-prox"),
        pytest.param(
            {
                "training": {"local_epochs": 1.75, "schedule": "cosine", "sampling": "balanced"},
                "augmentation": {"shift": 0.2, "noise": 0.1, "flip": "both"},
            },
            0.0,
            id="augmented-balanced-cosine",
        ),
        pytest.param({"training": {"local_epochs": 1.75, "warmup_rounds": 0.5}}, 0.0, id="part-of-an-epoch"),
    ],
)
@pytest.mark.parametrize(("every", "steps"), [(1, 1), (3, 5)])
def test_plain_training_goes_on_where_it_was(
    make_study: Callable[..., Study],
    model_of: ModelOf,
    cases: SequenceBatch,
    tmp_path: Path,
    sections: dict[str, Any],
    mu: float,
    every: int,
    steps: int,
) -> None:
    training = {"batch_size": 5, "local_epochs": 3, **sections.get("training", {})}
    study = make_study(**{**sections, "training": training})
    plan = LocalPlan.of(study, 0.0, 5, proximal_mu=mu)
    undisturbed, resumed = model_of(study), []
    loss = train(undisturbed, cases, plan)

    def run(checkpoints: Checkpoints) -> None:
        resumed[:] = [model_of(study)]
        assert train(resumed[0], cases, plan, checkpoints) == loss

    deaths(run, tmp_path / "t", every, steps)
    assert_same(resumed[0], undisturbed)


@pytest.mark.parametrize(
    ("privacy", "sections"),
    [
        pytest.param({}, {}, id="ordinary noise"),
        pytest.param({"secure_noise": True}, {}, id="secure noise"),
        pytest.param({"clip_quantile": 0.5}, {"training": {"optimizer": "adam"}}, id="adaptive"),
        pytest.param({}, {"model": {"dropout": 0.4, "layers": 2}}, id="dropout"),
    ],
)
@pytest.mark.parametrize(("every", "steps"), [(1, 2), (2, 3)])
def test_private_training_goes_on_with_the_same_coins_and_noise(
    make_study: Callable[..., Study],
    model_of: ModelOf,
    cases: SequenceBatch,
    tmp_path: Path,
    privacy: dict[str, Any],
    sections: dict[str, Any],
    every: int,
    steps: int,
) -> None:
    training = {"optimizer": "sgd", "local_epochs": 4, **sections.get("training", {})}
    study = make_study(privacy={**PRIVACY, **privacy}, **{**sections, "training": training})
    plan, local = plan_of(study, 8), LocalPlan.of(study, 0.0, 0)
    assert plan.steps_per_round == 8
    undisturbed, resumed = model_of(study), []
    outcome = train_privately(undisturbed, cases, GROUPS, plan, local, Secret(b"k" * 32))

    def run(checkpoints: Checkpoints | None) -> None:
        resumed[:] = [model_of(study)]
        again = train_privately(
            resumed[0], cases, GROUPS, plan, local, Secret(b"k" * 32), checkpoints=checkpoints
        )
        assert again == outcome == PrivateOutcome(8, outcome.clip_norm)

    deaths(run, tmp_path / "t", every, steps)
    assert_same(resumed[0], undisturbed)


def test_what_was_lost_is_trained_again(
    make_study: Callable[..., Study], model_of: ModelOf, cases: SequenceBatch, tmp_path: Path
) -> None:
    study = make_study(training={"batch_size": 4})
    first, plan = Dying(tmp_path / "t", 3, 2), LocalPlan.of(study, 0.0, 5)
    with suppress(Killed):
        train(model_of(study), cases, plan, first)
    second = Dying(tmp_path / "t", 0, 2)
    train(model_of(study), cases, plan, second)
    assert (first.taken, second.taken) == (3, 2)  # of four steps two were on the disk
    assert (first.told, second.told) == ([0.25, 0.5, 0.75], [0.75, 1.0])


@pytest.mark.parametrize(("every", "dies_after"), [(1, 1), (1, 3), (2, 3), (3, 5)])
def test_time_that_was_worked_is_not_worked_again(
    make_study: Callable[..., Study],
    model_of: ModelOf,
    cases: SequenceBatch,
    tmp_path: Path,
    every: int,
    dies_after: int,
) -> None:
    """Each step takes a second; what was made after the last checkpoint is lost, and its time with it."""
    study = make_study(
        training={"batch_size": 5, "work_s": 11.0}, model={"dropout": 0.4, "layers": 2},
        federation={"deadline_s": 60.0},
    )  # fmt: skip
    plan, resumed = LocalPlan.of(study, 0.0, 5), []

    def clock() -> Callable[[], float]:
        seconds = count(int(torch.randint(1000, ())))  # a process's clock begins anywhere
        return lambda: float(next(seconds))

    undisturbed = model_of(study)
    wanted = train(undisturbed, cases, plan, clock=clock())
    assert wanted.steps == 11

    def run(checkpoints: Checkpoints) -> None:
        resumed[:] = [model_of(study)]
        assert train(resumed[0], cases, plan, checkpoints, clock()) == wanted

    deaths(run, tmp_path / "t", every, dies_after)
    assert_same(resumed[0], undisturbed)


def test_training_that_was_at_its_end_makes_no_step_more(
    make_study: Callable[..., Study], model_of: ModelOf, cases: SequenceBatch, tmp_path: Path
) -> None:
    study = make_study(training={"batch_size": 5, "work_s": 3.0}, federation={"deadline_s": 60.0})
    seconds, plan = count(), LocalPlan.of(study, 0.0, 5)

    def clock() -> float:
        return float(next(seconds))

    with suppress(Killed):
        train(model_of(study), cases, plan, Dying(tmp_path / "t", 3, 1), clock)
    again = Dying(tmp_path / "t", 0, 1)
    assert train(model_of(study), cases, plan, again, clock).steps == 3
    assert again.taken == 0


@pytest.mark.parametrize("private", [False, True], ids=["plain", "private"])
def test_an_interrupted_round_goes_on_with_the_moments_of_the_round_before(
    make_study: Callable[..., Study], model_of: ModelOf, cases: SequenceBatch, tmp_path: Path, private: bool
) -> None:
    """Also where its own were written and nothing else: the process died between the two."""
    training = {"batch_size": 5, "local_epochs": 2, "optimizer_state": "kept"}
    study = make_study(training=training, **({"privacy": PRIVACY} if private else {}))

    def trained(folder: str, number: int, checkpoints: Checkpoints | None = None) -> SequenceClassifier:
        model, moments = model_of(study), MomentsOnDisk(tmp_path / folder, {}, number)
        local = LocalPlan.of(study, (number - 1) / 2, number)
        if private:
            secret, plan = Secret(bytes([number]) * 32), plan_of(study, 8)
            train_privately(
                model, cases, GROUPS, plan, local, secret, checkpoints=checkpoints, moments=moments
            )
        else:
            train(model, cases, local, checkpoints, moments=moments)
        return model

    trained("undisturbed", 1)
    wanted = trained("undisturbed", 2)
    trained("disturbed", 1)
    resumed = []
    deaths(lambda checkpoints: resumed.append(trained("disturbed", 2, checkpoints)), tmp_path / "t", 2, 3)
    assert_same(resumed[0], wanted)
    assert_same(trained("disturbed", 2), wanted)
    files = [(tmp_path / folder / "000002.moments").read_bytes() for folder in ("undisturbed", "disturbed")]
    assert files[0] == files[1]
