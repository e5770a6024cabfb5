"""The desk answers each task once and goes on, whatever became of it; what waits at the end is left alone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import RecordDict

from client.cohorts.home import Home
from client.daemon.desk import Desk
from client.daemon.status import StatusBoard
from client.executor import Cancelled
from client.link import OfferedTask
from client.site import Site
from common.errors import BudgetSpent, ExecutorDied, StudyWithdrawn
from common.identity import new_tls_key
from common.link.blobs import BlobStore
from common.link.records import described, restored
from common.tasks import read_refusal
from common.tasks.writing import refusal_content

CONTRACT = "c" * 64
SECRET = "Mueller^Anna"


class Executor:
    """Does what it is told instead of training."""

    def __init__(self, does: Callable[[], Mapping[str, Any]]) -> None:
        self.does, self.ran = does, 0
        self.cancelled: list[str] = []

    def run(self, order: Any) -> Mapping[str, Any]:
        self.ran += 1
        return self.does()

    def cancel(self, task: str) -> None:
        self.cancelled.append(task)


class Outbox:
    """Keeps what was put in, by task."""

    def __init__(self) -> None:
        self.replies: dict[str, Any] = {}

    def put(self, task: str, sealed: Any, parts: Any) -> None:
        self.replies[task] = sealed


def task(number: int) -> OfferedTask:
    statement: Any = SimpleNamespace(content={"records": {"content": []}, "audit_head": ""}, issued=0)
    return OfferedTask(f"{number:032x}", "train", CONTRACT, statement, RecordDict(), "d" * 64)


@pytest.fixture
def desk(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Desk, Any, Any]]:
    """A desk whose executor does what is given; the hospital agrees to everything, unless told otherwise."""
    approved = SimpleNamespace(cohort="chest", contract=SimpleNamespace(name="lungs"))
    monkeypatch.setattr("client.daemon.desk.check_task", lambda *_: approved)
    monkeypatch.setattr("client.daemon.desk.consented", lambda *_: approved)
    identity = SimpleNamespace(name="alder", federation="0" * 12, key=new_tls_key())
    (home.folder / "link").mkdir()

    def make(does: Callable[[], Any]) -> tuple[Desk, Any, Any]:
        executor, outbox = Executor(does), Outbox()
        made = BlobStore(tmp_path / "made", 2**20)
        board = StatusBoard(home.folder, 1)
        given: Any = (home, lambda: identity, None, executor, outbox, made, board)
        site = Site("alder", home=str(home.folder), cohort="chest")
        return Desk(*given, place=lambda _: site), executor, outbox

    return make


def work(desk: Desk, *tasks: OfferedTask) -> None:
    """Work at tasks until none waits."""
    for each in tasks:
        desk.take(each)
    worker = threading.Thread(target=desk.work)
    worker.start()
    while not desk._waiting.empty():
        time.sleep(0.01)
    desk.close()
    worker.join(10)
    assert not worker.is_alive()


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
    assert [event for event, _ in events(home)][-4:] == ["task.received", "release.sent"] * 2


def test_what_the_training_process_refuses_is_logged_as_refused(desk: Any, home: Home) -> None:
    records, _ = described(refusal_content(BudgetSpent().refusal(), "alder"))
    made, _, outbox = desk(lambda: records)
    work(made, task(1))
    assert [code_of(sealed) for sealed in outbox.replies.values()] == ["budget-spent"]
    assert events(home)[-2:] == [("task.refused", "budget-spent"), ("release.sent", None)]


@pytest.mark.parametrize(
    ("raised", "code", "event"),
    [
        (ExecutorDied(), "executor-died", "task.failed"),
        (StudyWithdrawn(), "study-withdrawn", "task.refused"),
        (ValueError(SECRET), "internal", "task.failed"),  # a defect of ours
    ],
)
def test_an_error_costs_one_task_and_is_told_by_its_code(
    desk: Any,
    home: Home,
    caplog: pytest.LogCaptureFixture,
    raised: Exception,
    code: str,
    event: str,
) -> None:
    def fail() -> Any:
        raise raised

    made, executor, outbox = desk(fail)
    work(made, task(1), task(2))
    assert executor.ran == 2
    assert [code_of(sealed) for sealed in outbox.replies.values()] == [code, code]
    assert events(home).count((event, code)) == 2
    assert SECRET not in caplog.text
    assert not any(SECRET.encode() in sealed.body for sealed in outbox.replies.values())


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
