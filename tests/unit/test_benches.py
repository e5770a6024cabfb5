"""The benches: which there are, and how a run's rounds are read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from deploy.bench import BENCHES, Figure
from deploy.bench.bench import Results
from deploy.bench.round import Rounds, rounds_in

NAMES = ["simulation", "sites", "intake", "train", "private-step", "link", "round"]


def test_the_benches_by_name() -> None:
    assert list(BENCHES) == NAMES


@pytest.mark.parametrize(
    ("figure", "holds"),
    [
        (Figure("f", 0.5, "x", goal=0.4, at_least=True), True),
        (Figure("f", 0.3, "x", goal=0.4, at_least=True), False),
        (Figure("f", 3.0, "ms", goal=3.0), True),
        (Figure("f", 3.1, "ms", goal=3.0), False),
        (Figure("f", 3.1, "ms"), None),
    ],
)
def test_a_figure_says_whether_its_goal_is_met(figure: Figure, holds: bool | None) -> None:
    assert figure.holds is holds
    text = Results((figure,)).to_text("title")
    assert ("MISSED" in text, "holds" in text) == (holds is False, holds is True)


def test_rounds_are_read_from_the_record_without_the_first_two(tmp_path: Path) -> None:
    durations = [9.0, 8.0, 0.2, 0.1, 0.3, 0.15, 7.0]
    record = {"rounds": [{"round": n, "duration_s": s} for n, s in enumerate(durations, start=1)]}
    (tmp_path / "run.json").write_text(json.dumps(record), encoding="utf-8")
    first = tmp_path / "checkpoints" / "round-0001.safetensors"
    first.parent.mkdir()
    first.touch()
    os.utime(first, (1012.5, 1012.5))
    assert rounds_in(tmp_path, 1000.0) == Rounds(median_s=0.2, first_s=12.5)
