"""The learning rate is a function of how far the study is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from client.schedule import FLOOR, rate_share
from client.trainer import LocalPlan, train
from common.errors import InvalidValue
from common.models import build_model
from common.sequences import SequenceBatch
from common.study import Study, Training

MakeStudy = Callable[..., Study]


@pytest.mark.parametrize(
    ("training", "shares"),
    [
        ({}, [1.0, 1.0, 1.0, 1.0]),
        ({"schedule": "linear"}, [1.0, 0.7525, 0.505, 0.01]),
        ({"schedule": "cosine"}, [1.0, 0.8550, 0.505, 0.01]),
        ({"warmup_rounds": 5.0}, [FLOOR, 0.505, 1.0, 1.0]),
        ({"warmup_rounds": 5.0, "schedule": "linear"}, [FLOOR, 0.505, 1.0, 0.01]),
    ],
)
def test_the_rate_follows_its_schedule(training: dict[str, Any], shares: list[float]) -> None:
    found = [rate_share(Training(**training), 10, progress) for progress in (0.0, 0.25, 0.5, 1.0)]
    assert found == pytest.approx(shares, abs=1e-4)


def test_warming_up_comes_before_the_whole_schedule() -> None:
    training = Training(schedule="cosine", warmup_rounds=2.0)
    assert rate_share(training, 10, 0.2) == 1.0
    assert rate_share(training, 10, 0.6) == pytest.approx(0.505)


def test_the_rate_falls_within_a_round(make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight steps of two rounds: one rate each, and the second round begins where the first would go on."""
    study = make_study(
        training={"batch_size": 4, "schedule": "linear", "learning_rate": 1.0, "optimizer": "sgd"},
        federation={"rounds": 2},
    )
    rates: list[float] = []
    real = torch.optim.SGD.step

    def noted(self: torch.optim.SGD, *given: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return real(self, *given)

    monkeypatch.setattr(torch.optim.SGD, "step", noted)
    cases = SequenceBatch(torch.zeros(16, 8, 8), torch.full((16,), 8), torch.arange(16) % 2)
    for progress in (0.0, 0.5):
        train(build_model(study), cases, LocalPlan.of(study, progress, 1))
    assert rates == pytest.approx([0.01 + 0.99 * (1 - step / 8) for step in range(8)])


def test_a_warm_up_as_long_as_the_study_is_refused(make_study: MakeStudy) -> None:
    with pytest.raises(InvalidValue, match=r"warmup_rounds is 3, of 3 rounds"):
        make_study(training={"warmup_rounds": 3}, federation={"rounds": 3})
