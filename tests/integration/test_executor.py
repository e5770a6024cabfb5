"""The process that trains answers like the ClientApp itself, and whatever happens to it costs one task."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import MessageType, RecordDict

from client.app import app
from client.executor import Cancelled, Executor, Order
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


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_child_that_dies_costs_one_task(
    executor: Executor, blobs: BlobStore, site: Site, how: signal.Signals
) -> None:
    executor.start()
    raised = in_thread(executor, order("1", MessageType.TRAIN, training(1000), site, blobs))
    busy(executor)
    os.kill(executor.process_id or 0, how)
    assert isinstance(raised(), ExecutorDied)
    assert executor.run(order("2", MessageType.QUERY, question(), site, blobs))


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
