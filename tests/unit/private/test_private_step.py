"""The bench of private steps: every way runs, and the figures are those that were promised."""

from __future__ import annotations

import math

import pytest
import torch

from common.private.tape import current_tape
from deploy.bench import private_step
from deploy.bench.private_step import Times
from deploy.bench.training_steps import SHAPES, Shape, step_of

SMALL = [
    Shape("gru", 3, 4, 5, 2),
    Shape("lstm", 3, 4, 5, 2, layers=2),
    Shape("gru", 3, 8, 5, 2, encoder="cnn"),
    Shape("gru", 3, 8, 5, 2, encoder="cnn_groupnorm"),
]


pairs = [
    (way, s)
    for s in SMALL
    for way in ("plain", "private", "opacus")
    if way != "opacus" or s.encoder == "none"
]


@pytest.mark.parametrize("way,shape", pairs, ids=lambda value: getattr(value, "name", value))
def test_every_way_trains_step_after_step(way: str, shape: Shape) -> None:
    step = step_of(way, shape, torch.device("cpu"))
    for _ in range(2):
        step()
    assert current_tape() is None


def test_figures_are_named_and_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {
        "none": Times(1.0, 1.1, 30.0),
        "cnn": Times(1.0, 1.3, math.nan),
        "cnn_groupnorm": Times(1, 2, math.nan),
    }
    memory = {shape.name: {"plain": 100, "private": 120} for shape in SHAPES}
    monkeypatch.setattr(private_step, "_timed", lambda shape, device: times[shape.encoder])
    monkeypatch.setattr(private_step, "peak_bytes", lambda: memory)
    results = private_step.measure()
    judged = {
        figure.name: (round(figure.value, 3), figure.holds) for figure in results.figures if figure.goal
    }
    assert judged == {
        "gru_median": (1.1, True),
        "gru_worst": (1.1, True),
        "lstm_median": (1.1, True),
        "cnn_gru": (1.3, True),
        "cnn_gru_groupnorm": (2.0, False),
        "speedup_over_opacus_min": (27.273, True),
        "speedup_over_opacus_gru_T28_D128_H256_B128": (27.273, True),
        "peak_memory": (1.2, True),
    }
    assert all(math.isfinite(figure.value) for figure in results.figures)


def test_a_median_leaves_the_first_turns_out_but_never_all() -> None:
    assert private_step._median([9.0, 9.0, 1.0, 2.0, 3.0]) == 2.0
    assert private_step._median([9.0, 1.0]) == 1.0
