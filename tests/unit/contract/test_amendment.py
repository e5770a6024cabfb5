"""What changed between two contracts, as a person reads it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from common.contract import Contract, differences
from tests.unit.contract.drafts import NOW, contract_with, study_with


def test_nothing_changed() -> None:
    assert differences(contract_with(), contract_with()) == ()


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (contract_with(study_with(federation={"rounds": 9})), "federation.rounds: 3 -> 9"),
        (contract_with(seed=8), "seed: 7 -> 8"),
        (contract_with(code_digest="ab" * 32), "the code that touches data: c0dec0dec0de -> abababababab"),
        (
            contract_with(expires=NOW + timedelta(days=60)),
            "expires: 2026-04-01T12:00:00+00:00 -> 2026-05-01T12:00:00+00:00",
        ),
        (contract_with(release="0.2.0"), "release: 0.1.0 -> 0.2.0"),
        (
            contract_with(study_with(training={"clip_grad_norm": 1.0})),
            "training.clip_grad_norm: not set -> 1.0",
        ),
        (
            contract_with(
                study_with(study={"name": "small", "labels": {"0": "normal", "1": "lesion", "2": "cyst"}})
            ),
            'study.labels.2: not there -> "cyst"',
        ),
        (
            contract_with(study_with(study={"name": "small", "labels": {"1": "lesion", "0": "normal"}})),
            "labels or variables: another order, so another class or input may be the first",
        ),
    ],
)
def test_each_change_has_its_line(changed: Contract, line: str) -> None:
    lines = differences(contract_with(release="0.1.0"), changed)
    assert line in lines


def test_what_leaves_comes_first() -> None:
    private: dict[str, Any] = {"privacy": {"noise_multiplier": 1.5}}
    old, new = contract_with(study_with(**private)), contract_with()
    lines = differences(old, new)
    assert lines[0].startswith("leaves the hospital now: update") and "loss" in " ".join(lines[:3])
    assert any("no longer: update" in line and "noise of 1.5 times" in line for line in lines)


def test_text_of_a_coordinator_cannot_move_the_cursor() -> None:
    labels = {"0": "normal", "1": "lesion\x1b[2J"}
    lines = differences(contract_with(), contract_with(study_with(study={"name": "small", "labels": labels})))
    assert lines and all(line.isprintable() for line in lines)
