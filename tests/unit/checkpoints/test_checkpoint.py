"""A checkpoint is written when it is due, used where it fits, and never in training's way."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from client.checkpoints.checkpoint import INTERVAL_VARIABLE, Checkpoints
from client.checkpoints.interruption import Interrupted, Interruption
from client.checkpoints.progress import EVERY_S, Progress
from client.trainer import LocalPlan, train
from common.models import SequenceClassifier
from common.sequences import SequenceBatch
from common.study import Study

ABOUT = {"cases": "c" * 64, "device": "cpu"}


def checkpoints(path: Path, about: dict[str, str] = ABOUT, **options: Any) -> Checkpoints:
    return Checkpoints(path, about, **{"interval_s": 0.0, **options})


def test_it_is_written_every_few_minutes(tmp_path: Path) -> None:
    now = [0.0]
    made = checkpoints(tmp_path / "t", interval_s=300.0, clock=lambda: now[0])
    asked = []

    def state() -> dict[str, Any]:
        asked.append(now[0])
        return {"at": now[0]}

    for now[0] in (0.0, 299.0, 300.0, 599.0, 601.0, 610.0):
        made.offer(state, 0.5)
    assert asked == [300.0, 601.0]
    assert made.read() == {"at": 601.0}


def test_the_environment_may_say_how_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    for said, after, wanted in (("0", 0.0, True), ("60", 59.0, False), ("often", 299.0, False)):
        monkeypatch.setenv(INTERVAL_VARIABLE, said)
        now[0] = 0.0
        made = Checkpoints(tmp_path / said, ABOUT, clock=lambda: now[0])
        now[0] = after
        made.offer(lambda: {"x": 1}, 0.5)
        assert (tmp_path / said).exists() is wanted


def test_training_that_is_asked_to_stop_writes_one_more(tmp_path: Path) -> None:
    interruption = Interruption()
    made = checkpoints(tmp_path / "t", interval_s=1e9, interruption=interruption)
    made.offer(lambda: {"steps": 1}, 0.5)
    assert not (tmp_path / "t").exists()
    interruption.ask()
    with pytest.raises(Interrupted):
        made.offer(lambda: {"steps": 2}, 0.5)
    assert made.read() == {"steps": 2}


def test_nothing_is_there_at_first(tmp_path: Path) -> None:
    assert checkpoints(tmp_path / "t").read() is None


@pytest.mark.parametrize("place", [0, 10, 60, -33, -1])
def test_a_damaged_one_is_left_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture, place: int) -> None:
    made = checkpoints(tmp_path / "t")
    made.offer(lambda: {"x": torch.ones(3)}, 0.5)
    content = bytearray((tmp_path / "t").read_bytes())
    content[place] ^= 1
    (tmp_path / "t").write_bytes(content)
    assert made.read() is None
    assert "damaged" in caplog.text


@pytest.mark.parametrize("other", [{"cases": "d" * 64}, {"device": "cuda"}])
def test_one_of_other_data_or_another_device_is_left_aside(tmp_path: Path, other: dict[str, str]) -> None:
    checkpoints(tmp_path / "t").offer(lambda: {"x": 1}, 0.5)
    assert checkpoints(tmp_path / "t", {**ABOUT, **other}).read() is None
    assert checkpoints(tmp_path / "t").read() == {"x": 1}


def test_one_of_another_release_is_left_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints(tmp_path / "t").offer(lambda: {"x": 1}, 0.5)
    monkeypatch.setattr("client.checkpoints.checkpoint.__version__", "0.0.0")
    assert checkpoints(tmp_path / "t").read() is None


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, "disk-full"), (errno.EROFS, "output-unwritable")]
)
def test_a_disk_that_is_full_does_not_stop_training(
    make_study: Callable[..., Study],
    model_of: Callable[[Study], SequenceClassifier],
    cases: SequenceBatch,
    tmp_path: Path,
    full_disk: Callable[[int], None],
    caplog: pytest.LogCaptureFixture,
    number: int,
    code: str,
) -> None:
    study = make_study(training={"batch_size": 4})
    plan = LocalPlan.of(study, 0.0, 5)
    wanted = train(model_of(study), cases, plan)
    full_disk(number)
    with caplog.at_level(logging.WARNING):
        assert train(model_of(study), cases, plan, checkpoints(tmp_path / "t")) == wanted
    assert [record.message for record in caplog.records] == [
        f"a checkpoint cannot be written ({code}); training goes on"
    ]
    assert not list(tmp_path.iterdir())


def test_no_object_is_made_but_tensors_numbers_and_texts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = checkpoints(tmp_path / "t")
    made.offer(lambda: {"path": tmp_path}, 0.5)
    assert made.read() is None
    assert "begins anew" in caplog.text


def test_how_far_training_is_is_told_now_and_then() -> None:
    now, told = [0.0], []
    progress = Progress(clock=lambda: now[0])
    progress.tell(0.1)
    progress.listener = told.append
    for now[0] in (1.0, 2.0, 1.0 + EVERY_S, 2.0 + EVERY_S):
        progress.tell(now[0])
    assert told == [1.0, 1.0 + EVERY_S]
