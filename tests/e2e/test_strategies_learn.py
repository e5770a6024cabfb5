"""Each of the twelve strategies trains the phantom study."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.study import STRATEGY_NAMES
from server.study_run import RunPlan, run_study
from tests.e2e.conftest import Federation

IN_EVERY_CHECK = ("fedadam",)


@pytest.mark.parametrize(
    "strategy",
    [
        name if name in IN_EVERY_CHECK else pytest.param(name, marks=pytest.mark.slow)
        for name in STRATEGY_NAMES
    ],
)
def test_every_strategy_finds_lesions(strategy: str, federation: Federation, tmp_path: Path) -> None:
    study = federation.study(strategy=strategy, evaluate_every=12)
    record = run_study(
        federation.grid, RunPlan(study, 0, tmp_path, "inprocess", expect_sites=federation.sites, strict=True)
    )
    assert record.status == "completed"
    assert record.final is not None
    assert record.final["pooled"]["auroc"] >= 0.8
