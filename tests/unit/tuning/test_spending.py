"""What a search would cost patients is said before it starts, and real patients' cost must be accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import TrialsSpendBudget
from common.private.accounting import epsilon_of
from common.private.event import Event
from deploy.tuning.candidates import Candidates
from deploy.tuning.search import Search, parse_search
from deploy.tuning.spending import Spending, require_consent, spending, told

STUDY = """
[study]
name = "tiny"
[study.labels]
0 = "normal"
1 = "abnormal"
[sequence]
kind = "rows"
size = 8
[training]
local_epochs = 2
[federation]
rounds = 3
"""
PRIVATE = """
[privacy]
noise_multiplier = 2.0
sample_rate = 0.25
target_delta = 1e-3
accountant = "rdp"
"""
LAYERS: dict[str, object] = {"model": {"layers": [1, 2]}}


def cost(folder: Path, study: str, searched: dict[str, object], trials: int = 5) -> list[Spending]:
    (folder / "study.toml").write_text(study)
    search: Search = parse_search(searched)
    return spending(search, Candidates(folder / "study.toml"), {"alder": (90, 60)}, trials, 3)


def test_all_trainings_of_a_patient_compose(tmp_path: Path) -> None:
    (found,) = cost(tmp_path, STUDY + PRIVATE, LAYERS)
    steps = 3 * 2 * 4  # rounds, epochs, steps an epoch
    assert found.trainings == 5 * 2  # of three folds a patient is held out in one
    assert found.each == epsilon_of([Event(2.0, 0.25, steps)], 1e-3, "rdp")
    assert found.together == epsilon_of([Event(2.0, 0.25, 10 * steps)], 1e-3, "rdp")
    assert found.each < found.together < 10 * found.each


def test_the_dearest_end_of_the_search_counts(tmp_path: Path) -> None:
    (plain,) = cost(tmp_path, STUDY + PRIVATE, LAYERS)
    dear: list[dict[str, object]] = [
        {"privacy": {"noise_multiplier": {"low": 1.0, "high": 3.0}}},
        {"federation": {"rounds": [1, 9]}},
        {"training": {"local_epochs": {"low": 1, "high": 4, "int": True}}},
    ]
    for searched in dear:
        (found,) = cost(tmp_path, STUDY + PRIVATE, searched)
        assert found.each > plain.each and found.together > plain.together


def test_a_target_holds_for_each_training_and_not_for_all(tmp_path: Path) -> None:
    target = PRIVATE.replace("noise_multiplier = 2.0", "target_epsilon = 2.0")
    (found,) = cost(tmp_path, STUDY + target, LAYERS)
    assert found.each <= 2.0 < found.together


def test_without_private_training_nothing_is_spent(tmp_path: Path) -> None:
    assert cost(tmp_path, STUDY, LAYERS) == []
    require_consent([], yes=False)


def test_a_cost_must_be_accepted(tmp_path: Path) -> None:
    found = cost(tmp_path, STUDY + PRIVATE, LAYERS)
    with pytest.raises(TrialsSpendBudget, match="alder: 10 trainings") as caught:
        require_consent(found, yes=False)
    assert told(found[0]) in caught.value.private
    require_consent(found, yes=True)
