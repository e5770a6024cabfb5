"""Segmentation and detection learn phantoms with a known truth; a detector beats a sliding window."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from client.trainer import LocalPlan, evaluated, train
from common.learning import learning_of
from common.metrics import sums_kind
from common.models import build_model
from common.sequences import SequenceBatch, to_steps
from common.study import Study, parse_study
from deploy.rivals.sliding_window import Slide, train_sliding_window
from tests.unit.detection_phantom import ring_clips

SIZE = 32


def study_of(task: str, sequence: dict[str, Any], model: dict[str, Any], **training: Any) -> Study:
    labels = {"0": "ring"} if task == "detection" else {"0": "background", "1": "ring"}
    tables = {"sequence": {"size": SIZE, **sequence}, "model": {"hidden": 16, **model}}
    return parse_study(
        {
            "study": {"name": "p", "task": task, "labels": labels},
            "training": {"batch_size": 4, **training},
            **tables,
        }
    )


def masks(clips: SequenceBatch) -> SequenceBatch:
    """The same clips with the discs that fill their boxes as masks."""
    places = (torch.arange(SIZE) + 0.5) / SIZE
    true = clips.targets[:, :, 0, 1:]
    middle, radius = (true[..., :2] + true[..., 2:]) / 2, (true[..., 2] - true[..., 0]) / 2
    away = (places[:, None] - middle[..., None, None, 0]) ** 2 + (places - middle[..., None, None, 1]) ** 2
    inside = (away < radius[..., None, None] ** 2).to(torch.uint8)
    return SequenceBatch(clips.steps, clips.lengths, inside.flatten(2))


def first_frames(clips: SequenceBatch, study: Study) -> SequenceBatch:
    """The first frame of each clip as one picture, read as the study reads it."""

    def cut(of_steps: torch.Tensor) -> torch.Tensor:
        return to_steps(of_steps[:, 0].reshape(-1, SIZE, SIZE), study.sequence)

    steps = cut(clips.steps)
    return SequenceBatch(steps, torch.full((len(steps),), steps.shape[1]), cut(clips.targets))


def trained_figures(study: Study, cases: SequenceBatch, tests: SequenceBatch) -> dict[str, Any]:
    torch.manual_seed(0)
    model, classes = build_model(study), study.study.classes
    train(model, cases, LocalPlan.of(study, 0.0, 1))
    none = sums_kind(study).none(len(classes))
    sums = evaluated(model, tests, learning_of(study), none, keep=True)
    sums.check(len(classes))
    return sums.figures(classes)


@pytest.mark.slow
def test_detector_of_clips_beats_a_sliding_window() -> None:
    cases, tests = ring_clips(60, seed=1), ring_clips(16, seed=2)
    study = study_of(
        "detection",
        {"kind": "frames"},
        {"encoder": "cnn", "cell": "conv_gru"},
        learning_rate=3e-3,
        local_epochs=12,
    )
    found = trained_figures(study, cases, tests)
    rival = train_sliding_window(cases, (SIZE, SIZE), 1, seed=1, slide=Slide())
    of_rival = rival.count(tests, (SIZE, SIZE), keep=False)
    of_rival.check(1)
    beaten = of_rival.figures(("ring",))
    assert beaten["map50"] > 0.5  # it has learnt: else it were no rival
    assert found["map50"] > 0.8
    assert found["map50"] > beaten["map50"] + 0.05
    assert found["froc"] > beaten["froc"]


@pytest.mark.parametrize("cell", ["conv_gru", "conv_lstm"])
@pytest.mark.slow
def test_segmenter_of_clips_finds_what_is_there(cell: str) -> None:
    cases, tests = masks(ring_clips(40, seed=1, noise=1.0)), masks(ring_clips(12, seed=2, noise=1.0))
    study = study_of(
        "segmentation",
        {"kind": "frames"},
        {"encoder": "cnn", "cell": cell},
        learning_rate=3e-3,
        local_epochs=10,
    )
    # All background has no Dice at all, and all foreground 0.2.
    assert trained_figures(study, cases, tests)["dice"] > 0.6


@pytest.mark.slow
@pytest.mark.parametrize(
    "sequence",
    [{"kind": "rows"}, {"kind": "patches", "patch": 8, "order": "hilbert"}],
    ids=["rows", "patches"],
)
def test_segmenter_of_one_picture_finds_what_is_there(sequence: dict[str, Any]) -> None:
    study = study_of(
        "segmentation",
        sequence,
        {"encoder": "cnn", "cell": "gru", "hidden": 64, "bidirectional": True},
        learning_rate=5e-3,
        local_epochs=15,
    )
    cases, tests = (first_frames(masks(ring_clips(n, seed=n, frames=1, noise=0.3)), study) for n in (150, 30))
    # All background has no Dice at all, and all foreground 0.2.
    assert trained_figures(study, cases, tests)["dice"] > 0.5
