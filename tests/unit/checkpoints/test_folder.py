"""What lies in a task's folder: one answer, one secret, and nothing of another task's."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.checkpoints import PLAIN, TaskFolder, study_folder, task_folder, tidy
from client.checkpoints.folder import SECRET_BYTES
from client.checkpoints.tidying import KEPT_S
from common.errors import DiskFull
from common.private.secret import KEY_BYTES
from common.study import Study, digest, to_canonical
from common.tasks import EvaluateTask, TrainTask, contribution_content, read_contribution
from common.update import Contribution

NAME = "a" * 32
TASK = TrainTask("study", 1, 2, "b" * 64, class_weights=(0.5, 1.5))


def content(value: float = 1.0) -> Any:
    delta = {"head.weight": np.full((2, 3), value, np.float32), "head.bias": np.zeros(2, np.float32)}
    return contribution_content(Contribution("alder", 2, "b" * 64, delta, 7, loss=value))


@pytest.fixture
def folder(tmp_path: Path) -> TaskFolder:
    return task_folder(str(tmp_path), "alder", "training", TASK)


def path_of(folder: TaskFolder, ending: str) -> Path:
    assert folder.path is not None
    return folder.path / f"{NAME}.{ending}"


def test_a_finished_answer_comes_back_as_it_was(folder: TaskFolder) -> None:
    assert folder.finished(NAME) is None
    assert folder.finish(NAME, content, {"steps": 4, "clip_norm": None}) is None
    found = folder.finished(NAME)
    assert found is not None and found.facts == {"steps": 4, "clip_norm": None}
    assert found.content == content()
    assert [each.name for each in folder.all_finished()] == [NAME]
    np.testing.assert_array_equal(read_contribution(found.content).delta["head.weight"], np.ones((2, 3)))


def test_the_first_answer_counts(folder: TaskFolder) -> None:
    folder.finish(NAME, content, {"steps": 4})
    quicker = folder.finish(NAME, lambda: content(2.0), {"steps": 5})
    assert quicker is not None and quicker.content == content() and quicker.facts == {"steps": 4}
    again = folder.finished(NAME)
    assert again is not None and again.content == content()


def test_a_damaged_answer_stands_in_nobody_s_way(folder: TaskFolder) -> None:
    folder.finish(NAME, content, {})
    path = path_of(folder, "finished")
    path.write_bytes(path.read_bytes()[:-5])
    assert folder.finish(NAME, lambda: content(2.0), {}) is None
    found = folder.finished(NAME)
    assert found is not None and found.content == content(2.0)
    path.write_bytes(path.read_bytes()[:-5])
    assert folder.finished(NAME) is None and list(folder.all_finished()) == []


def test_a_reservation_has_one_secret_until_its_answer_is_finished(folder: TaskFolder) -> None:
    secret = folder.secret(NAME)
    assert len(secret) == SECRET_BYTES == KEY_BYTES
    assert folder.secret(NAME) == secret != folder.secret("c" * 32)
    folder.finish(NAME, content, {})
    assert not path_of(folder, "secret").exists()


def test_a_checkpoint_does_not_outlive_its_secret(folder: TaskFolder) -> None:
    secret = folder.secret(NAME)
    checkpoint = folder.checkpoint(NAME)
    assert checkpoint is not None
    checkpoint.write_bytes(b"x")
    path_of(folder, "secret").write_bytes(b"torn")
    other = folder.secret(NAME)
    assert other != secret and folder.secret(NAME) == other
    assert not checkpoint.exists()


def test_only_the_owner_can_read_it(folder: TaskFolder, tmp_path: Path) -> None:
    folder.secret(NAME)
    path = path_of(folder, "secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    while path.parent != tmp_path:
        path = path.parent
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    folder.finish(NAME, content, {})
    assert stat.S_IMODE(path_of(folder, "finished").stat().st_mode) == 0o600


def test_an_answer_that_cannot_be_kept_is_none(folder: TaskFolder, full_disk: Callable[[int], None]) -> None:
    full_disk(errno.ENOSPC)
    with pytest.raises(DiskFull):
        folder.finish(NAME, content, {})
    assert folder.path is not None and not list(folder.path.iterdir())


def test_where_nothing_outlives_a_task_nothing_is_kept() -> None:
    folder = task_folder("", "alder", "training", TASK)
    assert folder == TaskFolder(None)
    assert folder.checkpoint(NAME) is None and folder.finished(NAME) is None
    assert folder.secret(NAME) != folder.secret(NAME)
    assert folder.finish(NAME, content, {}) is None and list(folder.all_finished()) == []
    folder.drop(NAME)
    folder.clear()


def test_each_task_has_a_folder_of_its_own(folder: TaskFolder, tmp_path: Path) -> None:
    others = [
        replace(TASK, study="another"),
        replace(TASK, seed=2),
        replace(TASK, round=3),
        replace(TASK, base_digest="c" * 64),
        replace(TASK, proximal_mu=0.1),
        replace(TASK, class_weights=(1.0, 1.0)),
        replace(TASK, base_loss=True),
    ]
    found = [task_folder(str(tmp_path), "alder", "training", task) for task in others]
    found.append(task_folder(str(tmp_path), "birch", "training", TASK))
    found.append(
        task_folder(str(tmp_path), "alder", "evaluation", EvaluateTask("study", 2, TASK.base_digest))
    )
    assert len({folder, *found}) == len(found) + 1
    assert (
        task_folder(str(tmp_path), "alder", "training", replace(TASK, ledger_head="1:" + "a" * 64)) == folder
    )


def test_a_study_s_folder_is_named_by_its_digest(make_study: Callable[..., Study], tmp_path: Path) -> None:
    study = make_study()
    assert study_folder(to_canonical(study)) == digest(study)
    folder = task_folder(str(tmp_path), "alder", "training", replace(TASK, study=to_canonical(study)))
    assert folder.path is not None and folder.path.parent == tmp_path / "training" / digest(study)


def test_what_is_old_or_of_a_study_that_is_over_is_let_go_of(tmp_path: Path) -> None:
    tasks = {study: replace(TASK, study=study) for study in ("over", "runs")}
    folders = {study: task_folder(str(tmp_path), "alder", "training", task) for study, task in tasks.items()}
    for folder in folders.values():
        folder.finish(PLAIN, content, {})
    kept = folders["runs"].path
    assert kept is not None
    now_s = (kept / "plain.finished").stat().st_mtime
    tidy(tmp_path, {study_folder("over")}, now_s + KEPT_S - 1)
    assert [path.name for path in (tmp_path / "training").iterdir()] == [study_folder("runs")]
    assert folders["runs"].finished(PLAIN) is not None
    tidy(tmp_path, set(), now_s + KEPT_S + 1)
    assert list((tmp_path / "training").iterdir()) == []
    tidy(tmp_path / "nowhere", set(), now_s)


def test_forgetting_a_task_leaves_the_others(folder: TaskFolder, tmp_path: Path) -> None:
    other = task_folder(str(tmp_path), "birch", "training", TASK)
    for each in (folder, other):
        each.finish(NAME, content, {})
    folder.clear()
    assert folder.finished(NAME) is None and other.finished(NAME) is not None
    other.drop(NAME)
    assert other.finished(NAME) is None
