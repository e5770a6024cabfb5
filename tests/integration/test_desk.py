"""The desk answers each task once and goes on, whatever became of it; what waits at the end is left alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import ConfigRecord, RecordDict

from client.checkpoints import PLAIN, task_folder
from client.cohorts.home import Home
from client.daemon.desk import RETRIES, Desk
from client.daemon.status import StatusBoard
from client.executor import Cancelled
from client.link import OfferedTask
from client.site import Site
from common.errors import (
    BudgetSpent,
    ConsiliumError,
    DeviceFailed,
    DiskFull,
    ExecutorDied,
    ModelDiverged,
    PolicyRefused,
    StudyWithdrawn,
)
from common.identity import new_tls_key
from common.link.blobs import BlobStore
from common.link.records import described, restored
from common.tasks import TrainTask, read_refusal, task_content
from common.tasks.writing import refusal_content

CONTRACT, MODEL = "c" * 64, "b" * 64
SECRET = "Mueller^Anna"
told: list[tuple[str, float, str]] = []  # how far which task was said to be


class Executor:
    """Does what it is told instead of training."""

    def __init__(self, does: Callable[[], Mapping[str, Any]]) -> None:
        self.does, self.ran = does, 0
        self.cancelled: list[str] = []

    def run(self, order: Any, underway: Callable[[float], None]) -> Mapping[str, Any]:
        self.ran += 1
        underway(0.5)
        return self.does()

    def cancel(self, task: str) -> None:
        self.cancelled.append(task)


class Outbox:
    """Keeps what was put in, by task."""

    def __init__(self) -> None:
        self.replies: dict[str, Any] = {}

    def put(self, task: str, sealed: Any, blobs: Any, made: Any) -> None:
        self.replies[task] = sealed


def task(number: int) -> OfferedTask:
    statement: Any = SimpleNamespace(content={"records": {"content": []}, "audit_head": ""}, issued=0)
    content = task_content(TrainTask("study", 0, 1, MODEL))
    return OfferedTask(f"{number:032x}", "train", CONTRACT, statement, content, "d" * 64)


@pytest.fixture
def desk(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Desk, Any, Any]]:
    """A desk whose executor does what is given; the hospital agrees to everything, unless told otherwise."""
    approved = SimpleNamespace(cohort="chest", contract=SimpleNamespace(name="lungs"))
    monkeypatch.setattr("client.daemon.desk.check_task", lambda *_: approved)
    monkeypatch.setattr("client.daemon.desk.consented", lambda *_: approved)
    told.clear()
    identity = SimpleNamespace(name="alder", federation="0" * 12, key=new_tls_key())
    (home.folder / "link").mkdir()

    def make(does: Callable[[], Any]) -> tuple[Desk, Any, Any]:
        executor, outbox = Executor(does), Outbox()
        made = BlobStore(tmp_path / "made", 2**20)
        board = StatusBoard(home.folder, 1)
        given: Any = (home, lambda: identity, None, executor, outbox, made, board)
        site = Site("alder", home=str(home.folder), cohort="chest", state=str(tmp_path / "state"))

        def progress(*said: Any) -> None:
            told.append(said)

        return Desk(*given, place=lambda _: site, pause_s=0.0, progress=progress), executor, outbox

    return make


def work(desk: Desk, *tasks: OfferedTask) -> None:
    """Work at tasks until none waits."""
    for each in tasks:
        desk.take(each)
    desk._waiting.put(None)  # the end of the day: closing would let go of a task that is begun again
    worker = threading.Thread(target=desk.work)
    worker.start()
    worker.join(10)
    assert not worker.is_alive()


def description() -> RecordDict:
    """An answer that is no refusal, without weights."""
    return RecordDict({"about": ConfigRecord({"site": "alder"})})


def code_of(sealed: Any) -> str:
    records = json.loads(sealed.body)["content"]["records"]
    content = restored(records, lambda digest: b"")
    refusal = read_refusal(content)
    return refusal.code if refusal is not None else ""


def events(home: Home) -> list[tuple[str, Any]]:
    return [(entry.event, entry.facts.get("code")) for entry in home.audit_log.entries()]


def test_an_answer_is_logged_before_it_leaves(desk: Any, home: Home) -> None:
    records, _ = described(RecordDict())
    made, executor, outbox = desk(lambda: records)
    work(made, task(1), task(2))
    assert list(outbox.replies) == [task(1).id, task(2).id] and executor.ran == 2
    assert told == [(task(1).id, 0.5, "train"), (task(2).id, 0.5, "train")]
    assert [event for event, _ in events(home)][-4:] == ["task.received", "release.sent"] * 2
    assert list(home.audit_log.entries())[-1].facts["model"] == MODEL


def test_what_the_training_process_refuses_is_logged_as_refused(desk: Any, home: Home) -> None:
    records, _ = described(refusal_content(BudgetSpent().refusal(), "alder"))
    made, _, outbox = desk(lambda: records)
    work(made, task(1))
    assert [code_of(sealed) for sealed in outbox.replies.values()] == ["budget-spent"]
    assert events(home)[-2:] == [("task.refused", "budget-spent"), ("release.sent", None)]
    assert "model" not in list(home.audit_log.entries())[-1].facts


@pytest.mark.parametrize(
    ("raised", "code", "event", "tries"),
    [
        (ExecutorDied(), "executor-died", "task.failed", 1 + RETRIES),
        (StudyWithdrawn(), "study-withdrawn", "task.refused", 1),
        (ValueError(SECRET), "internal", "task.failed", 1),  # a defect of ours
    ],
)
def test_an_error_costs_one_task_and_is_told_by_its_code(
    desk: Any,
    home: Home,
    caplog: pytest.LogCaptureFixture,
    raised: Exception,
    code: str,
    event: str,
    tries: int,
) -> None:
    def fail() -> Any:
        raise raised

    made, executor, outbox = desk(fail)
    work(made, task(1), task(2))
    assert executor.ran == 2 * tries
    assert events(home).count(("executor.died", code)) == 2 * (tries - 1)
    assert [code_of(sealed) for sealed in outbox.replies.values()] == [code, code]
    assert events(home).count((event, code)) == 2
    assert SECRET not in caplog.text
    assert not any(SECRET.encode() in sealed.body for sealed in outbox.replies.values())


@pytest.mark.fault(
    "the process that trains ends, or its GPU fails",
    "it is started anew, twice at most, and goes on from its last checkpoint",
)
@pytest.mark.parametrize("trouble", [ExecutorDied(), DeviceFailed()])
def test_a_task_whose_process_dies_is_begun_again(desk: Any, home: Home, trouble: ConsiliumError) -> None:
    answers: list[Any] = [trouble, described(description())[0]]

    def die_once() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, DeviceFailed):
            return described(refusal_content(answer.refusal(), "alder"))[0]
        if isinstance(answer, ExecutorDied):
            raise answer
        return answer

    made, executor, outbox = desk(die_once)
    work(made, task(1))
    assert executor.ran == 2 and [code_of(sealed) for sealed in outbox.replies.values()] == [""]
    assert [event for event in events(home) if event[0] != "site.created"][-3:] == [
        ("task.received", None),
        ("executor.died", trouble.code),
        ("release.sent", None),
    ]


@pytest.mark.fault(
    "a hospital's GPU stays away", "the task is refused with `device-failed`; the round goes on at quorum"
)
def test_a_gpu_that_stays_away_is_told_by_its_code(desk: Any) -> None:
    records, _ = described(refusal_content(DeviceFailed().refusal(), "alder"))
    made, executor, outbox = desk(lambda: records)
    work(made, task(1))
    assert executor.ran == 1 + RETRIES
    assert [code_of(sealed) for sealed in outbox.replies.values()] == ["device-failed"]


def test_a_task_that_is_taken_back_meanwhile_is_not_begun_again(desk: Any, home: Home) -> None:
    def die() -> Any:
        made.cancel(task(1).id)
        raise ExecutorDied

    made, executor, outbox = desk(die)
    work(made, task(1))
    assert executor.ran == 1 and outbox.replies == {}
    assert ("task.cancelled", None) in events(home)


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (refusal_content(DiskFull().refusal(), "alder"), True),
        (refusal_content(PolicyRefused().refusal(), "alder"), True),
        (refusal_content(ModelDiverged().refusal(), "alder"), False),
        (None, False),
    ],
)
def test_what_outlived_a_task_goes_once_its_answer_is_in_the_outbox(
    desk: Any, tmp_path: Path, answer: RecordDict | None, kept: bool
) -> None:
    asked = TrainTask("study", 0, 1, "b" * 64)
    folder = task_folder(str(tmp_path / "state"), "alder", "training", asked)
    folder.finish(PLAIN, description, {})
    records, _ = described(answer or description())
    made, _, outbox = desk(lambda: records)
    seen: list[bool] = []
    put = outbox.put
    outbox.put = lambda *given: (seen.append(folder.finished(PLAIN) is not None), put(*given))
    work(made, replace(task(1), content=task_content(asked)))
    assert seen == [True] and len(outbox.replies) == 1
    assert (folder.finished(PLAIN) is not None) is kept


def test_what_outlived_a_task_stays_where_its_answer_cannot_be_put_out(desk: Any, tmp_path: Path) -> None:
    asked = TrainTask("study", 0, 1, "b" * 64)
    folder = task_folder(str(tmp_path / "state"), "alder", "training", asked)
    folder.finish(PLAIN, description, {})
    records, _ = described(description())
    made, _, outbox = desk(lambda: records)

    def full(*_: Any) -> None:
        made.close()
        raise DiskFull

    outbox.put = full
    work(made, replace(task(1), content=task_content(asked)))
    assert folder.finished(PLAIN) is not None


@pytest.mark.parametrize("where", ["audit", "outbox"])
def test_an_answer_waits_for_room_on_the_disk(
    desk: Any, home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    made, executor, outbox = desk(lambda: described(description())[0])
    left = [DiskFull(), DiskFull()]
    put, audit = outbox.put, Home.audit

    def full_at_first(real: Any) -> Any:
        def attempt(*given: Any, **facts: Any) -> None:
            if left:
                raise left.pop()
            real(*given, **facts)

        return attempt

    if where == "audit":
        monkeypatch.setattr(Home, "audit", full_at_first(audit))
    else:
        outbox.put = full_at_first(put)
    work(made, task(1))
    assert list(outbox.replies) == [task(1).id] and executor.ran == 1 and not left
    assert caplog.text.count("waits: disk-full") == 2


def test_a_disk_without_room_does_not_end_the_desk(
    desk: Any, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where not even the status can be written, the next task is worked at all the same."""

    def full(*_: Any) -> None:
        raise DiskFull

    monkeypatch.setattr("common.board.write_atomically", full)
    made, _, outbox = desk(lambda: described(description())[0])
    work(made, task(1), task(2))
    assert list(outbox.replies) == [task(1).id, task(2).id]


def test_a_task_taken_back_gets_no_reply(desk: Any, home: Home) -> None:
    def taken_back() -> Any:
        raise Cancelled

    made, _, outbox = desk(taken_back)
    work(made, task(1))
    assert outbox.replies == {}
    assert ("task.cancelled", None) in events(home)


def test_what_waits_when_the_daemon_ends_is_left_for_the_next_start(desk: Any) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait() -> Any:
        began.set()
        assert go_on.wait(10)
        raise Cancelled

    made, executor, outbox = desk(wait)
    made.take(task(1))
    made.take(task(2))
    worker = threading.Thread(target=made.work)
    worker.start()
    assert began.wait(10)
    made.close()
    go_on.set()
    worker.join(10)
    assert executor.ran == 1 and outbox.replies == {}
