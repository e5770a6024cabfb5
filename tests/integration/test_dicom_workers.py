"""Workers: whatever a file does to the process that opens it, it costs that file and nothing else."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.dicom import handover
from client.dicom.outcomes import Quarantined, Reason
from client.dicom.workers import Limits, WorkerPool

MIB = 2**20
Behaviour = tuple[str, Any]


def behave(item: Behaviour) -> Any:
    """Do what the item says; runs in a worker."""
    what, argument = item
    return BEHAVIOURS[what](argument)


def fail(error: BaseException) -> None:
    raise error


def stop(seconds: float) -> None:
    time.sleep(seconds)


def spin(argument: object) -> None:
    while True:
        pass


def speak(argument: object) -> str:
    os.write(1, b"SECRET")
    os.write(2, b"SECRET")
    sys.stderr.write("SECRET")
    sys.stderr.flush()
    return "said"


def write(path: str) -> None:
    with Path(path).open("wb") as file:
        file.write(b"SECRET")


def fill(step: int) -> int:
    """Take memory until there is no more; how much of it was there at most, in bytes."""
    held: list[Any] = []
    try:
        while len(held) < 10_000:
            held.append(np.ones(step, dtype=np.uint8))
    except MemoryError:
        del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


BEHAVIOURS: dict[str, Callable[[Any], Any]] = {
    "echo": lambda argument: argument,
    "pid": lambda argument: os.getpid(),
    "stop": stop,
    "spin": spin,
    "abort": lambda argument: os.abort(),
    "exit": lambda status: os._exit(status),
    "leave": lambda status: sys.exit(status),
    "kill": lambda number: os.kill(os.getpid(), number),
    "raise": fail,
    "take": lambda size: len(np.ones(size, dtype=np.uint8)),
    "give": lambda size: b"x" * size,
    "array": lambda shape: np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape),
    "fill": fill,
    "speak": speak,
    "write": write,
}


def run(items: list[Behaviour], count: int = 2, **limits: Any) -> list[tuple[Behaviour, Any]]:
    with WorkerPool(
        behave, count, Limits(**{"time_s": 20.0, "memory_bytes": 2**30, **limits})
    ).running() as pool:
        return list(pool.map(items))


def why(result: Any) -> Reason:
    assert isinstance(result, Quarantined), result
    return result.reason


def gone(pid: int) -> bool:
    """Whether there is no such process, not even a zombie, within a moment."""
    last = time.monotonic() + 5
    while time.monotonic() < last:
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.01)
    return False


def test_every_item_has_its_result() -> None:
    items = [("echo", n) for n in range(100)]
    for count in (1, 3):
        found = run(items, count)
        assert sorted(item[1] for item, _ in found) == list(range(100))
        assert all(result == item[1] for item, result in found)
    assert run([], 0) == run([], 1) == []


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (("abort", None), Reason.crashed),
        (("exit", 0), Reason.crashed),
        (("leave", 3), Reason.crashed),
        (("kill", signal.SIGSEGV), Reason.crashed),
        (("kill", signal.SIGKILL), Reason.crashed),
        (("take", 2**32), Reason.memory),
        (("raise", MemoryError()), Reason.memory),
        (("raise", RecursionError()), Reason.undecodable),
        (("raise", Quarantined(Reason.truncated, "half of it")), Reason.truncated),
    ],
    ids=lambda value: str(value),
)
def test_what_ends_a_process_costs_one_item(item: Behaviour, reason: Reason) -> None:
    around = [("echo", n) for n in range(6)]
    found = run([*around[:3], item, *around[3:], item], 1)
    assert [result if i in around else why(result) for i, result in found] == [
        0,
        1,
        2,
        reason,
        3,
        4,
        5,
        reason,
    ]


@pytest.mark.parametrize("item", [("stop", 60.0), ("spin", None)])
def test_what_takes_too_long_is_ended(item: Behaviour) -> None:
    start = time.monotonic()
    found = run([("echo", 1), item, ("echo", 2)], 1, time_s=1.5)
    assert [result if i != item else why(result) for i, result in found] == [1, Reason.hung, 2]
    assert 1.5 <= time.monotonic() - start < 30


def test_some_items_may_take_longer() -> None:
    with WorkerPool(behave, 1, Limits(0.5), lambda item: item[1]).running() as pool:
        ((_, result),) = pool.map([("stop", 1.5)])
        assert result is None


def test_of_an_error_only_its_kind_is_told() -> None:
    ((_, result),) = run([("raise", ValueError("SECRET"))])
    assert why(result) is Reason.undecodable and result.detail == "ValueError"
    ((_, result),) = run([("raise", Quarantined(Reason.values, "12 bits"))])
    assert (result.reason, result.detail) == (Reason.values, "12 bits")


def test_memory_is_what_was_allowed() -> None:
    for limit in (512, 768):
        ((_, most_bytes),) = run([("fill", 16 * MIB)], 1, memory_bytes=limit * MIB)
        assert 0.25 * limit * MIB < most_bytes <= limit * MIB


def test_a_result_without_room_for_its_copy_is_too_much_memory() -> None:
    found = run([("give", 200 * MIB), ("echo", 1)], 1, memory_bytes=512 * MIB)
    assert [why(found[0][1]), found[1][1]] == [Reason.memory, 1]


@pytest.mark.parametrize("rows", [0, 1, 1000, handover.HALF_BYTES // 4096 + 1])
def test_arrays_come_whole_however_large(rows: int) -> None:
    with WorkerPool(behave, 2, Limits()).running() as pool:
        for (_, shape), result in pool.map([("array", (rows, 1024))] * 3):
            assert isinstance(result, np.ndarray)
            assert np.array_equal(result, np.arange(rows * 1024, dtype=np.int32).reshape(shape))


def test_a_result_is_good_while_it_is_looked_at() -> None:
    """The worker is at the next ones meanwhile."""
    with WorkerPool(behave, 1, Limits()).running() as pool:
        for (_, (first, rows)), result in pool.map([("array", (1, n + 1)) for n in range(20)]):
            time.sleep(0.01)
            assert isinstance(result, np.ndarray) and result.tolist() == [list(range(rows))] and first == 1


def test_workers_say_nothing_and_write_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = run([("speak", None), ("write", str(tmp_path / "file")), ("speak", None)], 1)
    assert [found[0][1], why(found[1][1]), found[2][1]] == ["said", Reason.undecodable, "said"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 0
    printed = capfd.readouterr()
    assert "SECRET" not in printed.out + printed.err


def test_nothing_is_left_of_the_processes() -> None:
    before = {path.name for path in Path("/proc").iterdir() if path.name.isdecimal()}
    items: list[Behaviour] = [("pid", n) for n in range(4)]
    found = run([*items, ("abort", None), ("stop", 60.0), *items], 1, time_s=1.5)
    pids = {result for item, result in found if item[0] == "pid"}
    assert len(pids) == 2 and not before & set(map(str, pids))
    assert all(gone(pid) for pid in pids)


def test_the_processes_go_with_a_caller_that_fails() -> None:
    pids: list[Any] = []
    with pytest.raises(KeyError), WorkerPool(behave, 2, Limits()).running() as pool:
        for _, pid in pool.map([("pid", n) for n in range(50)]):
            pids.append(pid)
            if len(pids) == 3:
                raise KeyError
    assert all(gone(pid) for pid in pids)


def test_a_worker_that_dies_between_two_items_costs_none() -> None:
    with WorkerPool(behave, 1, Limits()).running() as pool:
        for n in range(3):
            ((_, pid),) = pool.map([("pid", n)])
            assert isinstance(pid, int)
            os.kill(pid, signal.SIGKILL)
            assert gone(pid)
        ((_, result),) = pool.map([("echo", 1)])
        assert result == 1


def test_a_caller_that_is_slow_is_not_the_workers_fault() -> None:
    """The one answers in time while the caller is at the other's result."""
    with WorkerPool(behave, 2, Limits(time_s=0.6)).running() as pool:
        items: list[Behaviour] = [("echo", 1), *[("stop", 0.3)] * 33]  # 32 go to the first worker
        slow = None
        for item, result in pool.map(items):
            if item[0] == "echo":
                time.sleep(1.0)
            else:
                slow = result
                break
    assert slow is None


def test_many_kinds_at_once() -> None:
    kinds: dict[str, Any] = {"echo": 1, "abort": None, "take": 2**33, "raise": KeyError(), "give": 10}
    items = [(kind, kinds[kind]) for kind in [*kinds, *["echo"] * 5] * 3]
    found = run(items, 3)
    results = Counter(str(why(r)) if isinstance(r, Quarantined) else str(r) for _, r in found)
    assert results == {
        "1": 18,
        str(Reason.crashed): 3,
        str(Reason.memory): 3,
        str(Reason.undecodable): 3,
        str(b"x" * 10): 3,
    }
