"""The process that trains answers like the ClientApp itself, and whatever happens to it costs one task."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import MessageType, RecordDict

from client.app import app
from client.checkpoints.checkpoint import INTERVAL_VARIABLE
from client.checkpoints.sealed import read_sealed
from client.executor import Cancelled, Executor, Order
from client.ledger import Ledger
from client.site import Site
from common.errors import ExecutorDied
from common.flower import adopt_identity, free_message
from common.link.blobs import BlobStore
from common.link.records import described, restored
from common.models import initial_weights
from common.study import to_canonical
from common.tasks import Describe, TrainTask, read_refusal, task_content, weights_of, weights_record
from common.weights import digest
from tests.unit.conftest import context_of, small_study, write_hospitals

LIMIT_BYTES = 2**30
BROKEN_DEVICE = """
import torch.optim

def fail(*_):
    raise RuntimeError("CUDA error: unspecified launch failure")

torch.optim.Adam.step = torch.optim.SGD.step = fail
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site("alder", str(write_hospitals(tmp_path_factory.mktemp("hospital"), {"alder": (400, 2)})))


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs", LIMIT_BYTES)


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[Executor]:
    made = Executor(tmp_path / "blobs", tmp_path / "blobs", LIMIT_BYTES)
    yield made
    made.close()


def order(task: str, message_type: str, content: RecordDict, site: Site, blobs: BlobStore) -> Order:
    records, parts = described(content)
    for pieces in parts.values():
        blobs.put(pieces)
    return Order(task, message_type, site.node_config(), records)


def training(epochs: int = 1) -> RecordDict:
    study = small_study(training={"local_epochs": epochs})
    weights = initial_weights(study, 0)
    task = TrainTask(to_canonical(study), 0, 1, digest(weights))
    return task_content(task, weights_record(weights))


def private_training() -> RecordDict:
    study = small_study(
        training={"local_epochs": 5, "optimizer": "sgd"},
        privacy={"noise_multiplier": 1.0, "sample_rate": 0.05, "target_delta": 1e-3},
    )
    weights = initial_weights(study, 0)
    task = TrainTask(to_canonical(study), 0, 1, digest(weights))
    return task_content(task, weights_record(weights))


def question() -> RecordDict:
    return task_content(Describe(to_canonical(small_study())))


def test_its_answers_are_those_of_the_app(executor: Executor, blobs: BlobStore, site: Site) -> None:
    adopt_identity(1)
    for number, (kind, content) in enumerate(
        [(MessageType.QUERY, question()), (MessageType.TRAIN, training()), (MessageType.TRAIN, training())]
    ):
        records = executor.run(order(str(number), kind, content, site, blobs))
        found = restored(records, blobs.read)
        expected = app(free_message(content, kind, 1), context_of(site)).content
        assert found["about"] == expected["about"]
        if kind == MessageType.TRAIN:
            for name, array in weights_of(expected).items():
                np.testing.assert_array_equal(weights_of(found)[name], array)


def test_a_refusal_says_no_more_than_it_may(
    executor: Executor, blobs: BlobStore, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "Mueller^Anna"
    lost = Site("alder", str(tmp_path / secret / "manifest.csv"))
    records = executor.run(order("1", MessageType.QUERY, question(), lost, blobs))
    refusal = read_refusal(restored(records, blobs.read))
    executor.close()
    out, err = capfd.readouterr()
    assert refusal is not None and refusal.code == "manifest-missing"
    assert secret not in out + err + repr(records)


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSEGV, marks=pytest.mark.slow)])
def test_a_child_that_dies_costs_one_task(
    executor: Executor, blobs: BlobStore, site: Site, how: signal.Signals
) -> None:
    executor.start()
    raised = in_thread(executor, order("1", MessageType.TRAIN, training(1000), site, blobs))
    busy(executor)
    os.kill(executor.process_id or 0, how)
    assert isinstance(raised(), ExecutorDied)
    assert executor.run(order("2", MessageType.QUERY, question(), site, blobs))


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.slow
def test_a_child_that_is_killed_goes_on_from_its_checkpoint(
    executor: Executor,
    blobs: BlobStore,
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    private: bool,
) -> None:
    """In the middle of training, twice; the answer is that of a child which nobody disturbed."""
    monkeypatch.setenv(INTERVAL_VARIABLE, "0")
    ledgers = [tmp_path / "undisturbed.jsonl", tmp_path / "killed.jsonl"]
    whole, killed = (replace(site, ledger=str(ledger), noise_seed=1) for ledger in ledgers)
    killed = replace(killed, state=str(tmp_path / "state"))
    content = private_training() if private else training(4)
    wanted = executor.run(order("0", MessageType.TRAIN, content, whole, blobs))
    seen: set[bytes] = set()
    for _ in range(2):
        raised = in_thread(executor, order("1", MessageType.TRAIN, content, killed, blobs))
        seen.add(grown(tmp_path / "state", seen))
        os.kill(executor.process_id or 0, signal.SIGKILL)
        assert isinstance(raised(), ExecutorDied)
    told: list[float] = []
    found = executor.run(order("1", MessageType.TRAIN, content, killed, blobs), told.append)
    assert told and all(0 < done <= 1 for done in told)
    assert weights_equal(found, wanted, blobs)
    if private:
        books = [Ledger(ledger, None).book().lines for ledger in ledgers]
        assert [[(line.event, line.settled is not None) for line in book] for book in books] == [
            [(books[0][0].event, True)]
        ] * 2


def test_a_child_that_is_told_to_end_writes_down_how_far_it_is(
    executor: Executor, blobs: BlobStore, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No checkpoint was due; the next child goes on from the one that closing made."""
    monkeypatch.setattr("client.executor.executor.GRACE_S", 60.0)  # it may be busy with the pictures yet
    kept = replace(site, state=str(tmp_path / "state"))
    executor.start()
    raised = in_thread(executor, order("1", MessageType.TRAIN, training(1000), kept, blobs))
    busy(executor)
    assert not list((tmp_path / "state").rglob("*.checkpoint"))
    executor.close()
    assert isinstance(raised(), Cancelled)
    (path,) = (tmp_path / "state").rglob("*.checkpoint")
    written = steps_in(path)
    executor.start()
    again = in_thread(executor, order("1", MessageType.TRAIN, training(1000), kept, blobs))
    busy(executor)
    executor.close()
    again()
    assert steps_in(path) > written > 0


def test_a_child_whose_device_failed_answers_no_more(
    executor: Executor, blobs: BlobStore, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BROKEN_DEVICE)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    executor.start()
    first = executor.process_id
    records = executor.run(order("1", MessageType.TRAIN, training(), site, blobs))
    refusal = read_refusal(restored(records, blobs.read))
    assert refusal is not None and refusal.code == "device-failed"
    assert executor.process_id is None
    assert executor.run(order("2", MessageType.QUERY, question(), site, blobs))
    assert executor.process_id not in (None, first)


def test_a_task_that_is_taken_back_ends_at_once(executor: Executor, blobs: BlobStore, site: Site) -> None:
    executor.start()
    raised = in_thread(executor, order("1", MessageType.TRAIN, training(1000), site, blobs))
    busy(executor)
    executor.cancel("another")
    executor.cancel("1")
    assert isinstance(raised(), Cancelled)
    assert executor.run(order("1", MessageType.QUERY, question(), site, blobs))


def test_without_a_parent_there_is_no_child(executor: Executor) -> None:
    executor.start()
    pid = executor.process_id or 0
    child = executor._child
    assert child is not None
    child.lifeline.close()  # what the end of the daemon does, however it ends
    assert child.process.wait(10) == 1
    executor.start()
    assert executor.process_id not in (None, pid)


def test_the_child_has_no_credentials(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:word@proxy:3128")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "word")
    executor.start()
    environment = Path(f"/proc/{executor.process_id}/environ").read_bytes()
    assert b"word" not in environment
    assert b"PATH=" in environment


def steps_in(path: Path) -> int:
    """How many steps a checkpoint is of."""
    sealed = read_sealed(path)
    assert sealed is not None
    return len(torch.load(io.BytesIO(sealed.body), weights_only=True)["losses"])


def weights_equal(first: Any, second: Any, blobs: BlobStore) -> bool:
    """Whether two answers have the same weights."""
    ours, theirs = (weights_of(restored(records, blobs.read)) for records in (first, second))
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def grown(state: Path, seen: set[bytes]) -> bytes:
    """The end of a checkpoint that was not there before: that many steps later."""
    until, new = time.monotonic() + 60, 0
    while time.monotonic() < until:
        for path in state.rglob("*.checkpoint"):
            with suppress(FileNotFoundError):
                end = path.read_bytes()[-32:]
                new += end not in seen
                seen = {*seen, end}
                if new > 5:
                    return end
        time.sleep(0.002)
    raise AssertionError("no checkpoint was written")


def in_thread(executor: Executor, given: Order) -> Any:
    """Start an order; the function returned waits for what it raises."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            executor.run(given)
        except (Cancelled, ExecutorDied) as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def joined() -> BaseException | None:
        thread.join(20)
        return raised[0] if raised else None

    return joined


def busy(executor: Executor) -> None:
    """Wait until the child has worked for a while: it is then in the middle of its order."""
    stat = Path(f"/proc/{executor.process_id}/stat")
    before, until = int(stat.read_text().split()[13]), time.monotonic() + 20
    while int(stat.read_text().split()[13]) < before + 30 and time.monotonic() < until:
        time.sleep(0.05)
