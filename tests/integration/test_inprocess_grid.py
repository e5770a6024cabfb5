"""Real worker processes: they answer as a direct call does, their deaths cost their messages, and they go."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message, MessageType, RecordDict
from PIL import Image

from client.manifest import Row, write_manifest
from client.site import Site
from common.flower import adopt_identity, with_message_id
from common.models import initial_weights
from common.study import Study, parse_study, to_canonical
from common.tasks import Describe, TrainTask, read_contribution, read_refusal, task_content, weights_record
from common.weights import digest
from deploy.engines.inprocess import InProcessEngine, InProcessGrid
from deploy.engines.warm import client_app, context_of
from server.record import read_run
from server.roster import gather
from server.rounds import RoundEngine
from server.strategies import build_strategy
from server.study_run import RunPlan

NAMES = ("alder", "birch", "cedar", "dogwood", "elm")
LOADS = (6, 8, 10, 5, 4)
TRAIN = MessageType.TRAIN


def study_of(hidden: int = 4, epochs: int = 1) -> Study:
    return parse_study(
        {
            "study": {"name": "small", "labels": {"0": "normal", "1": "lesion"}},
            "sequence": {"size": 8},
            "model": {"hidden": hidden, "dropout": 0.2},
            "training": {"batch_size": 4, "local_epochs": epochs},
            "federation": {"rounds": 2, "deadline_s": 30.0},
        }
    )


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> list[Site]:
    folder, rng, rows = tmp_path_factory.mktemp("hospitals"), np.random.default_rng(0), []
    for name, load in zip(NAMES, LOADS, strict=True):
        for number in range(load + 2):
            path = folder / f"{name}-{number}.png"
            Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(path)
            split = "train" if number < load else "test"
            rows.append(Row(path.name, name, path.stem, split, str(number % 2), number))
    write_manifest(folder / "manifest.csv", rows)
    return [Site(name, str(folder / "manifest.csv"), "cpu", share_scores=True) for name in NAMES]


@pytest.fixture
def grid_of(sites: list[Site]) -> Iterator[Callable[..., InProcessGrid]]:
    """Grids that are closed when the test ends."""
    opened: list[InProcessGrid] = []

    def make(workers: int | None = 2) -> InProcessGrid:
        opened.append(InProcessGrid(sites, LOADS, workers))
        return opened[-1]

    yield make
    for grid in opened:
        grid.close()


def train_task(study: Study, number: int = 1) -> RecordDict:
    base = initial_weights(study, 0)
    return task_content(TrainTask(to_canonical(study), 0, number, digest(base)), weights_record(base))


def answers(grid: InProcessGrid, content: RecordDict, kind: str = TRAIN) -> dict[int, Message]:
    """What the nodes answer, by node."""
    ids = list(grid.get_node_ids())
    replies = list(
        grid.send_and_receive([Message(content, node, kind, group_id="g") for node in ids], timeout=60)
    )
    return {reply.metadata.src_node_id: reply for reply in replies}


def direct(content: RecordDict, site: Site, node: int, kind: str = TRAIN) -> RecordDict:
    """What the same ClientApp answers in this process."""
    adopt_identity(1)
    request = with_message_id(Message(content, node, kind, group_id="g"), "1")
    reply: Message = client_app(request, context_of(node, site))
    return reply.content


def same(first: RecordDict, second: RecordDict) -> bool:
    one, other = read_contribution(first), read_contribution(second)
    fields = ("site", "round", "base_digest", "cases", "loss")
    return all(getattr(one, f) == getattr(other, f) for f in fields) and all(
        np.array_equal(one.delta[name], other.delta[name]) for name in one.delta
    )


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def processes(grid: InProcessGrid) -> list[int]:
    return [worker.process.pid for worker in grid._workers]


def worker_of(grid: InProcessGrid, node: int) -> Any:
    return grid._workers[grid._home[node]]


def begun_bytes(worker: Any) -> int:
    """How much of a reply lies in the worker's connection, unread."""
    return int.from_bytes(fcntl.ioctl(worker.connection.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder)


def nodes_of(grid: InProcessGrid, index: int) -> set[int]:
    return {node for node, home in grid._home.items() if home == index}


def within(seconds: float, done: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not (met := done()) and time.monotonic() < end:
        time.sleep(0.01)
    return met


def test_answers_are_those_of_a_direct_call_however_many_workers_there_are(
    grid_of: Callable[..., InProcessGrid], sites: list[Site]
) -> None:
    content = train_task(study_of())
    for workers in (1, 2, 5):
        grid = grid_of(workers)
        assert len(grid._workers) == workers
        got = answers(grid, content)
        assert set(got) == {1, 2, 3, 4, 5}
        for node, site in enumerate(sites, start=1):
            assert same(got[node].content, direct(content, site, node))
        grid.close()


@pytest.mark.slow
def test_there_are_no_more_workers_than_sites(grid_of: Callable[..., InProcessGrid]) -> None:
    grid = grid_of(50)
    assert len(grid._workers) == 5
    assert set(answers(grid, task_content(Describe(to_canonical(study_of()))), MessageType.QUERY)) == {
        1,
        2,
        3,
        4,
        5,
    }


def test_work_is_spread_by_load(grid_of: Callable[..., InProcessGrid]) -> None:
    grid = grid_of(2)
    loads = [sum(LOADS[node - 1] for node in nodes_of(grid, index)) for index in (0, 1)]
    assert sorted(loads) == [15, 18]


def test_replies_name_their_node_and_message(grid_of: Callable[..., InProcessGrid]) -> None:
    grid = grid_of(2)
    content = task_content(Describe(to_canonical(study_of())))
    ids = list(
        grid.push_messages([Message(content, node, MessageType.QUERY, group_id="g") for node in (3, 1, 5)])
    )
    assert len(set(ids)) == 3
    got: dict[str, int] = {}
    assert within(
        20,
        lambda: (
            len(
                got.update(
                    {m.metadata.reply_to_message_id: m.metadata.src_node_id for m in grid.pull_messages(ids)}
                )
                or got
            )
            == 3
        ),
    )
    assert got == dict(zip(ids, (3, 1, 5), strict=True))
    assert list(grid.pull_messages(ids)) == []


def test_a_dead_workers_messages_fail_and_its_sites_answer_again(
    grid_of: Callable[..., InProcessGrid],
) -> None:
    grid = grid_of(2)
    content = train_task(study_of())
    before = answers(grid, content)
    lost = nodes_of(grid, 0)
    os.kill(grid._workers[0].process.pid, signal.SIGKILL)
    got = answers(grid, content)
    assert set(got) == {1, 2, 3, 4, 5}
    assert {node for node, reply in got.items() if reply.has_error()} == lost
    again = answers(grid, content)
    assert all(same(again[node].content, before[node].content) for node in (1, 2, 3, 4, 5))


def test_a_worker_killed_at_work_costs_what_it_had_not_answered(
    grid_of: Callable[..., InProcessGrid],
) -> None:
    grid = grid_of(1)
    content = train_task(study_of(hidden=64))
    ids = list(grid.push_messages([Message(content, node, TRAIN, group_id="g") for node in (1, 2, 3, 4, 5)]))
    replies: list[Message] = []
    assert within(20, lambda: bool(replies.extend(grid.pull_messages(ids)) or replies))
    os.kill(grid._workers[0].process.pid, signal.SIGKILL)
    assert within(20, lambda: replies.extend(grid.pull_messages(ids)) or len(replies) == 5)
    assert not replies[0].has_error()
    for reply in replies:
        assert reply.has_error() or read_refusal(reply.content) is None
    assert all(not reply.has_error() for reply in answers(grid, content).values())


def test_a_worker_killed_in_the_middle_of_a_reply_costs_that_reply(
    grid_of: Callable[..., InProcessGrid],
) -> None:
    grid = grid_of(2)
    content = train_task(study_of(hidden=512))  # 3 MB: more than a socket holds, so the sender waits
    worker = worker_of(grid, 1)
    [message_id] = grid.push_messages([Message(content, 1, TRAIN, group_id="g")])
    assert within(30, lambda: begun_bytes(worker) > 10_000), "no reply was begun"
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.join()
    replies: list[Message] = []
    assert within(20, lambda: bool(replies.extend(grid.pull_messages([message_id])) or replies))
    assert replies[0].has_error()
    assert set(answers(grid, task_content(Describe(to_canonical(study_of()))), MessageType.QUERY)) == {
        1,
        2,
        3,
        4,
        5,
    }


def test_a_large_late_reply_does_not_stop_the_next_round(grid_of: Callable[..., InProcessGrid]) -> None:
    """While a worker writes a reply that nobody reads yet, it is sent the next task: neither may hang."""
    grid = grid_of(1)
    content = train_task(study_of(hidden=512))
    grid.push_messages([Message(content, 1, TRAIN, group_id="late")])
    assert within(30, lambda: begun_bytes(grid._workers[0]) > 10_000), "no reply was begun"
    ids: list[str] = []
    sender = threading.Thread(
        target=lambda: ids.extend(grid.push_messages([Message(content, 2, TRAIN, group_id="next")])),
        daemon=True,
    )
    sender.start()
    sender.join(5)
    stuck = sender.is_alive()
    if stuck:
        grid._workers[0].process.kill()
        sender.join(10)
    assert not stuck, "the coordinator and its worker wait for each other"
    replies: list[Message] = []
    assert within(20, lambda: bool(replies.extend(grid.pull_messages(ids)) or replies))
    assert replies[0].metadata.src_node_id == 2


def test_a_worker_that_dies_costs_its_sites_one_round(
    grid_of: Callable[..., InProcessGrid], sites: list[Site]
) -> None:
    study, grid = study_of(), grid_of(2)
    roster = gather(grid, study, 5, 60.0)
    engine = RoundEngine(grid, study, 0, roster, build_strategy(study.federation.strategy))
    base = initial_weights(study, 0)
    lost = {sites[node - 1].name for node in nodes_of(grid, 0)}
    os.kill(grid._workers[0].process.pid, signal.SIGKILL)
    first = engine.train(1, base)
    assert set(first.missing) == lost
    assert all(reason.startswith("no-reply") for reason in first.missing.values())
    second = engine.train(2, first.weights)
    assert second.missing == {} and [c.site for c in second.contributions] == list(NAMES)


def test_closing_leaves_no_process_however_much_there_is_to_do(
    grid_of: Callable[..., InProcessGrid],
) -> None:
    grid = grid_of(3)
    pids = processes(grid)
    work = train_task(study_of(epochs=1000))
    grid.push_messages([Message(work, node, TRAIN, group_id="g") for node in (1, 2, 3, 4, 5)])
    time.sleep(0.2)
    assert len(alive(pids)) == 3
    began = time.monotonic()
    grid.close()
    assert within(5, lambda: alive(pids) == []) and time.monotonic() - began < 4.0


def test_an_error_inside_leaves_no_process(sites: list[Site]) -> None:
    with pytest.raises(KeyboardInterrupt), InProcessGrid(sites, LOADS, 2) as grid:
        pids = processes(grid)
        raise KeyboardInterrupt
    assert within(5, lambda: alive(pids) == [])


def test_a_run_gives_the_same_model_with_any_number_of_workers(
    sites: list[Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: dict[int, bytes] = {}
    for cores in (1, 3):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        plan = RunPlan(study_of(), 5, tmp_path / str(cores), "inprocess", 5, 60.0)
        InProcessEngine().run(plan, sites, LOADS)
        models[cores] = (plan.out / "model.safetensors").read_bytes()
        run: Mapping[str, Any] | None = read_run(plan.out)
        assert run is not None and run["status"] == "completed"
        assert run["final"]["pooled"]["n"] == 10
    assert models[1] == models[3]
